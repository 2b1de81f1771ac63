package mqtt

import (
	"time"

	"watchtower/bridge"
)

// A small client may skip a message that is larger than its buffer and never acknowledge
// it. Or the message may crash the client, which connects again and gets it again.
//
// Acknowledgements come in the order of the messages (MQTT-4.6.0-2), so a message that a
// later one overtook will not be acknowledged any more. But clients that work in parallel
// acknowledge in another order too. So overtaken messages are given up only if the client
// would get nothing more otherwise: the window is full, and half of it is overtaken. This
// leaves out clients whose Receive Maximum makes the window smaller.
//
// A message is also given up if it is the oldest unacknowledged one at the end of five
// connections in a row. From the third on it is sent alone, so that no other message can
// be the cause; if the client is still connected after aloneFor, the rest follows.
const (
	triesMost  = 5
	triesAlone = 2
	aloneFor   = 5 * time.Second
)

// giveUp gives up overtaken messages, and reports whether there is room now. The caller
// holds mu; so do the callers of blame and alone.
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
	s.counters.Lose(s.sender(), Protocol, bridge.Failed, gave)
	return gave > 0
}

// blame counts the end of a connection against the oldest unacknowledged message, and
// gives that up the fifth time in a row.
func (s *session) blame() (tooMuch *message) {
	if s.sent == 0 || !s.durable {
		return nil
	}
	d := s.inflight.At(0)
	if d.is(markReleased) { // the client has this message
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
	s.counters.Lose(s.sender(), Protocol, bridge.Failed, 1)
	return tooMuch
}

// alone reports whether the suspect was sent and nothing may follow for now.
func (s *session) alone() bool {
	return s.lonely != nil && s.sent > 0 && s.inflight.At(s.sent-1).seq == s.suspect
}

// join lets the other messages follow the suspect.
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
