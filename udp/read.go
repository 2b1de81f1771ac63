package udp

import (
	"net/netip"

	"watchtower/datagram"
	"watchtower/wire"
	"watchtower/wire/frame"
)

// readBatch is how many datagrams are read at once.
const readBatch = 64

// read executes datagrams until stopReading.
func (s *Server) read() {
	defer close(s.readDone)
	// The room is one byte more than is allowed, so that longer datagrams are noticed.
	in := s.socket.Reader(readBatch, wire.MaxDatagram+1)
	r := replies{out: s.outgoing()}
	for {
		n, err := in.Read()
		if err != nil {
			if s.ended(err) {
				return
			}
			continue
		}
		for i := range n {
			b, from := in.At(i)
			s.request(b, from, in.Local(i), &r)
		}
		r.flush()
	}
}

// request executes one datagram.
func (s *Server) request(b []byte, from netip.AddrPort, local datagram.Local, r *replies) {
	if !from.IsValid() {
		return // the kernel gave no address: nobody to answer
	}
	s.absent.heard(from.Addr())
	if publishes(b) {
		r.flush() // the answer to a join goes before the first message that it brings
	}
	if frame.Is(b) {
		r.out.sessions.Local = uint32(local)
		s.sessions.Handle(from, b, &r.out.sessions)
		return
	}
	begin := len(r.bytes)
	r.bytes = s.table.HandleAt(from, uint32(local), b, r.bytes)
	if reply := r.bytes[begin:]; len(reply) > 0 {
		r.out.batch.addFrom(reply, from, local, nobodys)
	}
}

// publishes reports whether a datagram publishes a message.
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

// replies are the replies to one batch of datagrams.
type replies struct {
	out   outgoing
	bytes []byte // those to basic frames
}

func (r *replies) flush() {
	r.out.flush()
	r.bytes = r.bytes[:0]
}
