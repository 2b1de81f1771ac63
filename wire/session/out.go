package session

import "net/netip"

// Out gathers datagrams to send, in one buffer. One goroutine owns it, and uses it again
// and again.
type Out struct {
	// Local is the gateway's address at which the datagram for Handle came, as the socket
	// numbers its addresses; 0 if there is only one.
	Local uint32

	bytes     []byte
	datagrams []datagram
}

type datagram struct {
	to         netip.AddrPort
	from       uint32
	begin, end int
}

// Len is how many datagrams there are.
func (o *Out) Len() int { return len(o.datagrams) }

// Bytes is how many bytes they have together.
func (o *Out) Bytes() int { return len(o.bytes) }

// At returns a datagram. The bytes are good until Reset, or until another is added.
func (o *Out) At(i int) (to netip.AddrPort, b []byte) {
	d := o.datagrams[i]
	return d.to, o.bytes[d.begin:d.end]
}

// From is the gateway's address from which a datagram leaves: the one that the device
// speaks to.
func (o *Out) From(i int) uint32 { return o.datagrams[i].from }

// Reset forgets all datagrams.
func (o *Out) Reset() { o.bytes, o.datagrams = o.bytes[:0], o.datagrams[:0] }

// commit makes an answer of the bytes since begin. It leaves from the address at which
// the request came.
func (o *Out) commit(to netip.AddrPort, begin int) { o.add(to, o.Local, begin) }

// give makes a datagram to a session of the bytes since begin.
func (o *Out) give(s *Session, begin int) { o.add(s.at, s.local, begin) }

func (o *Out) add(to netip.AddrPort, from uint32, begin int) {
	if len(o.bytes) > begin {
		o.datagrams = append(o.datagrams, datagram{to, from, begin, len(o.bytes)})
	}
}
