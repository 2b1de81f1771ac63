package bridge

import (
	"cmp"
	"fmt"
	"slices"
)

// Protocol is the way by which a message came in, or a member is reached. Each package
// that speaks one makes its own, in a variable of the package: so all of them are known
// before the first hub, which has a place for each. The zero value is none of them.
type Protocol uint8

// MostProtocols is the length of tables by Protocol: there are fewer.
const MostProtocols = 16

var names = []string{"none"} // by Protocol

// NewProtocol makes a protocol with the name that metrics, reports and lists of members
// have for it. It is called while the program's variables are made, and panics if the
// name is taken, or there are too many.
func NewProtocol(name string) Protocol {
	if slices.Contains(names, name) || len(names) == MostProtocols {
		panic(fmt.Sprintf("bridge: %q is a protocol already, or one of more than %d", name, MostProtocols))
	}
	names = append(names, name)
	return Protocol(len(names) - 1)
}

// Protocols lists every protocol, by name.
func Protocols() []Protocol {
	all := make([]Protocol, len(names)-1)
	for i := range all {
		all[i] = Protocol(i + 1)
	}
	slices.SortFunc(all, func(a, b Protocol) int { return cmp.Compare(names[a], names[b]) })
	return all
}

// String returns the name.
func (p Protocol) String() string { return names[p] }
