package bridge

import (
	"cmp"
	"fmt"
	"iter"
	"math/bits"
	"slices"
)

// Protocol is the way by which a message came in, or by which a member is reached. Each
// package that speaks a protocol makes it in a package variable: so all protocols are
// known before the first hub is made. The zero value is no protocol.
type Protocol uint8

// MostProtocols is the length of arrays that are indexed by Protocol.
const MostProtocols = 16

var names = []string{"none"} // by Protocol

// protocolSet has a bit for each protocol.
type protocolSet uint32

// all are the protocols of the set.
func (s protocolSet) all() iter.Seq[Protocol] {
	return func(yield func(Protocol) bool) {
		for ; s != 0; s &= s - 1 {
			if !yield(Protocol(bits.TrailingZeros32(uint32(s)))) {
				return
			}
		}
	}
}

// NewProtocol makes a protocol. Metrics, reports and lists of members show its name. It
// is called for package variables, and panics if the name is taken or there are too many
// protocols.
func NewProtocol(name string) Protocol { return Protocol(register(&names, name, MostProtocols)) }

// register adds a name to a table, and returns its index.
func register(table *[]string, name string, most int) int {
	if slices.Contains(*table, name) || len(*table) == most {
		panic(fmt.Sprintf("bridge: %q is there already, or one of more than %d", name, most))
	}
	*table = append(*table, name)
	return len(*table) - 1
}

// registered returns the indexes of a table, beginning with without, sorted by name.
func registered[T ~uint8](table []string, without int) (all []T) {
	for i := without; i < len(table); i++ {
		all = append(all, T(i))
	}
	slices.SortFunc(all, func(a, b T) int { return cmp.Compare(table[a], table[b]) })
	return all
}

// Protocols lists every protocol, by name.
func Protocols() []Protocol { return registered[Protocol](names, 1) }

// ProtocolNamed returns the protocol of a name; of an unknown one, no protocol.
func ProtocolNamed(name []byte) Protocol {
	for i, n := range names {
		if n == string(name) {
			return Protocol(i)
		}
	}
	return 0
}

// String returns the name.
func (p Protocol) String() string { return names[p] }
