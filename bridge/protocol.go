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
func NewProtocol(name string) Protocol { return Protocol(register(&names, name, MostProtocols)) }

// register adds a name to a table of at most so many, and returns its place.
func register(table *[]string, name string, most int) int {
	if slices.Contains(*table, name) || len(*table) == most {
		panic(fmt.Sprintf("bridge: %q is there already, or one of more than %d", name, most))
	}
	*table = append(*table, name)
	return len(*table) - 1
}

// registered lists the places of a table by their names, without the first few.
func registered[T ~uint8](table []string, without int) (all []T) {
	for i := without; i < len(table); i++ {
		all = append(all, T(i))
	}
	slices.SortFunc(all, func(a, b T) int { return cmp.Compare(table[a], table[b]) })
	return all
}

// Protocols lists every protocol, by name.
func Protocols() []Protocol { return registered[Protocol](names, 1) }

// String returns the name.
func (p Protocol) String() string { return names[p] }
