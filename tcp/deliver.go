package tcp

import (
	"math/bits"

	"watchtower/bridge"
	"watchtower/bridge/outbound"
	"watchtower/wire"
	"watchtower/wire/basic"
	"watchtower/wire/frame"
	"watchtower/wire/session"
)

// atOnce is how many messages a member is given at a time: as many as a mask has
// bits.
const atOnce = 64

// deliver puts messages into their members' queues. Messages for the same members go
// together: each queue's lock is taken once for all of them.
func (s *Server) deliver(jobs []bridge.Job) {
	for len(jobs) > 0 {
		n := 1
		for n < min(len(jobs), atOnce) && same(jobs[0].To, jobs[n].To) {
			n++
		}
		s.fan(jobs[:n])
		jobs = jobs[n:]
	}
	s.round.Share(outbound.Few)
}

// same reports whether two lists of members are the same list.
func same(a, b []*bridge.Attachment) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

// fan gives messages to the members that they share.
func (s *Server) fan(jobs []bridge.Job) {
	var offered, dropped [atOnce]int
	for i, j := range jobs {
		s.batch[i] = encoded{message: j.Message}
	}
	for _, a := range jobs[0].To {
		wants := uint64(0)
		for i, j := range jobs {
			if a.Wants(j.Message) {
				wants |= 1 << i
				offered[i]++
			}
		}
		if wants == 0 {
			continue
		}
		for lost := s.offer(a, wants); lost != 0; lost &= lost - 1 {
			dropped[bits.TrailingZeros64(lost)]++
		}
	}
	for i, j := range jobs {
		j.Done(s.hub.Counters(), Protocol, offered[i], dropped[i])
		s.batch[i], s.frames[i] = encoded{}, nil
	}
}

// offer queues messages of the batch for one connection. It counts and returns those that
// do not fit.
func (s *Server) offer(a *bridge.Attachment, wants uint64) (lost uint64) {
	c, lost := a.Member.(member).queueAll(wants)
	if lost != wants {
		s.round.Note(c.writer)
	}
	return lost
}

// member is a connection, or a session of one. QueueAll queues the messages that it
// wants. It counts and returns those that do not fit.
type member interface {
	queueAll(wants uint64) (c *conn, lost uint64)
}

func (c *conn) queueAll(wants uint64) (_ *conn, lost uint64) {
	lost = c.queue.PutAll(c.server.plain(wants), wants)
	if lost != 0 {
		c.server.hub.Counters().Lose(c.basic.Receiver(), Protocol, bridge.QueueFull, bits.OnesCount64(lost))
	}
	return c, lost
}

type sessionMember struct {
	c      *conn
	stream *session.Stream
}

func (m sessionMember) queueAll(wants uint64) (_ *conn, lost uint64) {
	for left := wants; left != 0; left &= left - 1 {
		i := bits.TrailingZeros64(left)
		if e := &m.c.server.batch[i]; !m.stream.Deliver(e.message, e.session()) {
			lost |= 1 << i
		}
	}
	return m.c, lost
}

// plain returns the batch in basic frames, as far as it is wanted.
func (s *Server) plain(wants uint64) *[atOnce][]byte {
	for left := wants; left != 0; left &= left - 1 {
		i := bits.TrailingZeros64(left)
		if s.frames[i] == nil {
			s.frames[i] = s.batch[i].basic()
		}
	}
	return &s.frames
}

// encoded is one message as its members get it. It is encoded once, for the first member
// that wants it, and all share it.
type encoded struct {
	message         *bridge.Message
	plain, sessions []byte
}

// basic returns the delivery for basic members.
func (e *encoded) basic() []byte {
	if e.plain == nil {
		e.plain = wire.AppendDelivery(make([]byte, 0, wire.DeliveryHeader+len(e.message.Data)), basic.Delivery(e.message))
	}
	return e.plain
}

// session returns the delivery for sessions.
func (e *encoded) session() []byte {
	if e.sessions == nil {
		e.sessions = frame.AppendDelivery(make([]byte, 0, frame.Overhead+frame.DeliveryFixed+len(e.message.Data)), basic.Delivery(e.message))
	}
	return e.sessions
}
