package mqtt

import (
	"net/netip"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"watchtower/bridge"
	"watchtower/bridge/outbound"
)

// keepAliveSlack is the part of a keep-alive by which a client may be late before that is shown.
const keepAliveSlack = 10

// attach makes c the session's connection. Unacknowledged deliveries are sent again
// first, in order: PUBLISH with the DUP flag, or PUBREL (MQTT-4.4.0-1). The caller
// holds sessions.mu.
func (s *session) attach(c *conn) {
	s.mu.Lock()
	s.conn, s.sent, s.overtaken = c, 0, 0
	if s.tries >= triesAlone {
		s.lonely = time.AfterFunc(aloneFor, func() { s.join(c) })
	}
	s.hold.Present(Protocol)
	if at, err := netip.ParseAddrPort(c.remote); err == nil {
		s.hold.At(at)
	}
	s.hold.Promises(c.keepAlive + c.keepAlive/keepAliveSlack)
	s.hold.Heard(time.Now())
	s.window = min(window, int(c.receiveMax))
	s.durable = s.expiry > 0
	s.changed(true)
	s.mu.Unlock()
}

// detach makes the session away if c is still its connection, and drops queued QoS 0
// messages. itself says that the connection ended by itself: then tooMuch is a message
// that is given up, because the client seems unable to take it (giveup.go); else nil.
func (s *session) detach(c *conn, itself bool) (was bool, tooMuch *message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn != c {
		return false, nil
	}
	if itself {
		tooMuch = s.blame()
	}
	s.conn = nil
	s.letGo()
	s.hold.Left(bridge.Departure(c.left.Load()))
	s.hold.Away(Protocol)
	s.changed(true)
	s.sift(func(d *delivery) bool { return d.qos > 0 })
	s.limits.all.settle(s)
	return true, tooMuch
}

// letGo ends the waits for its connection: of publishers, and of the suspect's timer.
func (s *session) letGo() {
	s.relieve(true)
	if s.lonely != nil {
		s.lonely.Stop()
		s.lonely = nil
	}
}

// end makes the session refuse deliveries, and empties its queue.
func (s *session) end() *conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	lost := 0
	c := s.closeLocked(func(d *delivery) {
		switch {
		case d.is(markReleased): // the client has it
		case d.is(markShared) && d.mayPassOn():
			s.orphans = append(s.orphans, d.m)
		default:
			lost++
		}
	})
	s.counters.Lose(s.sender(), Protocol, bridge.Disconnected, lost)
	return c
}

// closeLocked makes the session refuse deliveries, and calls each with those that wait, in their
// order. The caller holds mu.
func (s *session) closeLocked(each func(*delivery)) *conn {
	if s.ended {
		return nil
	}
	s.ended = true
	s.limits.all.sessions.Add(-1)
	s.changed(true)
	s.limits.all.used.Add(-s.received.bytes())
	s.received = nil
	for _, q := range []*outbound.Fifo[delivery]{&s.inflight, &s.queue} {
		for i := range q.Len() {
			d := q.At(i)
			s.uncount(d)
			each(d)
		}
		q.Clear()
	}
	s.backlog = 0
	s.limits.all.settle(s)
	c := s.conn
	s.conn = nil
	s.letGo()
	return c
}

// dismiss ends a session's connection. The session stays, as after any other disconnect.
func (s *session) dismiss(why packets.Code) {
	if c := s.connection(); c != nil {
		c.halt(why, displacePatience)
	}
}
