package session

import "net/netip"

// Out gathers datagrams that are to be sent, one behind the other. It is one
// goroutine's, and used again and again.
type Out struct {
	bytes     []byte
	datagrams []datagram
}

type datagram struct {
	to         netip.AddrPort
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

// Reset forgets all datagrams.
func (o *Out) Reset() { o.bytes, o.datagrams = o.bytes[:0], o.datagrams[:0] }

// commit makes a datagram of what was appended to bytes since begin.
func (o *Out) commit(to netip.AddrPort, begin int) {
	if len(o.bytes) > begin {
		o.datagrams = append(o.datagrams, datagram{to, begin, len(o.bytes)})
	}
}
