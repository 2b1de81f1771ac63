package udp

import (
	"net"
	"net/netip"

	"golang.org/x/net/ipv4"

	"watchtower/bridge/frame"
	"watchtower/bridge/wire"
)

// read executes datagrams until stopReading.
func (s *Server) read() {
	defer close(s.readDone)
	in := make([]ipv4.Message, batchSize)
	// One byte more than a datagram may have tells those that are too long.
	room := make([]byte, batchSize*(wire.MaxDatagram+1))
	for i := range in {
		in[i].Buffers = [][]byte{room[i*(wire.MaxDatagram+1) : (i+1)*(wire.MaxDatagram+1)]}
	}
	// Named ipv4, but it only moves batches: the socket may be IPv6's.
	conn := ipv4.NewPacketConn(s.conn)
	r := replies{out: s.outgoing()}
	for {
		n, err := conn.ReadBatch(in, 0)
		if err != nil {
			if s.ended(err) {
				return
			}
			continue
		}
		for _, m := range in[:n] {
			s.request(m.Buffers[0][:m.N], m.Addr, &r)
		}
		r.flush()
	}
}

// request executes one datagram.
func (s *Server) request(datagram []byte, from net.Addr, r *replies) {
	addr, ok := from.(*net.UDPAddr)
	if !ok {
		return // the kernel gave no address: nobody to answer
	}
	if publishes(datagram) {
		r.flush() // the answer to a join goes before the first message that it brings
	}
	at := addr.AddrPort()
	at = netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
	if frame.Is(datagram) {
		s.sessions.Handle(at, datagram, &r.out.sessions)
		return
	}
	begin := len(r.bytes)
	r.bytes = s.table.Handle(at, datagram, r.bytes)
	if reply := r.bytes[begin:]; len(reply) > 0 {
		r.out.batch.add(reply, addr, 0)
	}
}

// publishes reports whether a request is to bring somebody a message.
func publishes(datagram []byte) bool {
	if len(datagram) == 0 {
		return false
	}
	switch datagram[0] {
	case wire.OpMessage, wire.OpSend, byte(frame.Broadcast), byte(frame.Send):
		return true
	}
	return false
}

// replies are those to one batch of datagrams.
type replies struct {
	out   outgoing
	bytes []byte // those to basic frames
}

func (r *replies) flush() {
	r.out.flush()
	r.bytes = r.bytes[:0]
}
