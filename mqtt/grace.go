package mqtt

import "sync/atomic"

// grace is the time after a start in which the will of a client waits that was
// connected when the gateway ended: the gateway's end is not the client's. If the
// client comes back there is no will. Many come back by another client id; so a
// will is given up too once somebody wrote its topic: what they say is newer.
type grace struct {
	written atomic.Bool
	unwatch func()
}

// grace begins the grace of a session's will.
func (b *Broker) grace(s *session) {
	g := &grace{}
	g.unwatch = b.Watch(s.will.topic, func(string, []byte) { g.written.Store(true) })
	s.graced = g
}

// graceOver ends the grace of a session, if it has one, and reports whether its
// will is given up.
func (b *Broker) graceOver(s *session) (givenUp bool) {
	b.sessions.mu.Lock()
	g := s.graced
	s.graced = nil
	b.sessions.mu.Unlock()
	if g == nil {
		return false
	}
	g.unwatch()
	return g.written.Load()
}
