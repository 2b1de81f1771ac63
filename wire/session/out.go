package session

import "net/netip"

// Out gathers datagrams that are to be sent, one behind the other. It is one
// goroutine's, and used again and again.
type Out struct {
	// Local is at which of the gateway's addresses the datagram came that Handle is
	// given, as its socket numbers them; 0 if it has one.
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

// Bytes is how much room they take.
func (o *Out) Bytes() int { return len(o.bytes) }

// At returns a datagram. It may not be used after Reset, nor after what adds more.
func (o *Out) At(i int) (to netip.AddrPort, b []byte) {
	d := o.datagrams[i]
	return d.to, o.bytes[d.begin:d.end]
}

// From is from which of the gateway's addresses a datagram is to leave: the one that
// the device speaks to.
func (o *Out) From(i int) uint32 { return o.datagrams[i].from }

// Reset forgets all datagrams.
func (o *Out) Reset() { o.bytes, o.datagrams = o.bytes[:0], o.datagrams[:0] }

// commit makes an answer of what was appended to bytes since begin: it leaves from
// where the datagram came.
func (o *Out) commit(to netip.AddrPort, begin int) { o.add(to, o.Local, begin) }

// give makes a datagram to a session of it.
func (o *Out) give(s *Session, begin int) { o.add(s.at, s.local, begin) }

func (o *Out) add(to netip.AddrPort, from uint32, begin int) {
	if len(o.bytes) > begin {
		o.datagrams = append(o.datagrams, datagram{to, from, begin, len(o.bytes)})
	}
}
