package mqtt

import (
	"time"

	"watchtower/bridge"
)

// A small client may skip a message that is larger than its buffer and never
// acknowledge it, or fail over it, connect anew and be sent it again.
//
// Acknowledgements come in the order of the messages (MQTT-4.6.0-2), so what a later
// one has overtaken will not be acknowledged any more. Clients that do their work side
// by side acknowledge in another order all the same, so that is held against them only
// where the client would hear nothing more otherwise: when all places in flight are
// taken, and half of them by what was overtaken. A client that announces a Receive
// Maximum has few places and means it; this is about those that do not.
//
// What is the first thing unacknowledged at the end of five connections in a row is
// given up. From the third on it is sent alone, so that nothing else is at fault; who
// is still there after some seconds gets the rest.
const (
	triesMost  = 5
	triesAlone = 2
	aloneFor   = 5 * time.Second
)

// giveUp gives up what was overtaken, and reports whether there is room now. The
// caller holds mu, as in all that follows.
func (s *session) giveUp() bool {
	n := s.inflight.Len()
	if n < window || int(s.overtaken) < n/2 {
		return false
	}
	gave := 0
	for i := int(s.overtaken) - 1; i >= 0; i-- {
		d := s.inflight.At(i)
		if d.is(markReleased) {
			continue
		}
		if size := d.m.size(); s.conn.unanswered == 0 || size < s.conn.unanswered {
			s.conn.unanswered = size
		}
		s.settle(i)
		gave++
	}
	s.counters.Drop(Protocol, bridge.Failed, gave)
	return gave > 0
}

// blame counts the end of a connection against the message that it was sent first, if
// the client has acknowledged nothing since, and gives that up the fifth time.
func (s *session) blame() (tooMuch *message) {
	if s.sent == 0 || !s.durable {
		return nil
	}
	d := s.inflight.At(0)
	if d.is(markReleased) { // there was more before what it has not acknowledged
		s.suspect, s.tries = 0, 0
		return nil
	}
	if d.seq != s.suspect {
		s.suspect, s.tries = d.seq, 0
	}
	if s.tries++; s.tries < triesMost {
		return nil
	}
	tooMuch = d.m
	s.settle(0)
	s.counters.Drop(Protocol, bridge.Failed, 1)
	return tooMuch
}

// alone reports whether nothing is to follow for now: the suspect was sent.
func (s *session) alone() bool {
	return s.lonely != nil && s.sent > 0 && s.inflight.At(s.sent-1).seq == s.suspect
}

// join has the others follow the suspect.
func (s *session) join(c *conn) {
	s.mu.Lock()
	mine := s.conn == c
	if mine {
		s.lonely = nil
	}
	s.mu.Unlock()
	if mine {
		c.writer.Wake()
	}
}
