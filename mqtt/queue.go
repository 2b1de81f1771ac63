package mqtt

import (
	"time"

	"watchtower/bridge"
)

// offer queues a delivery if there is room. patient says that its publisher can wait
// until there is.
func (s *session) offer(d *delivery, patient bool) verdict {
	return s.enqueue(d, s.limits.messages, patient)
}

// greet queues what was retained when the client subscribed. That is not charged
// to what comes live: it comes once, and there may be as much more of it as there
// are retained messages, which are shared.
func (s *session) greet(d *delivery, retained int) verdict {
	d.marks |= markBacklog
	return s.enqueue(d, s.limits.messages+retained, false)
}

func (s *session) enqueue(d *delivery, most int, patient bool) verdict {
	weight := d.m.weight()
	s.mu.Lock()
	v := s.admit(d, weight, most)
	if patient && (v == full || v == heavy) {
		v = s.press(d, weight, v)
	}
	if !v.took() {
		s.mu.Unlock()
		return v
	}
	if d.qos > 0 && s.durable { // only rows on disk have numbers
		s.lastSeq++
		d.seq = s.lastSeq
		s.changed(false)
	}
	s.push(d, weight)
	c := s.conn
	s.mu.Unlock()
	if c != nil {
		c.writer.Wake()
	}
	return v
}

// admit reports whether a delivery may wait, and has it counted if so.
func (s *session) admit(d *delivery, weight, most int) verdict {
	waiting := s.queue.Len() - s.backlog
	if d.is(markBacklog) {
		waiting = s.backlog
	}
	switch {
	case s.ended:
		return gone
	case s.conn == nil && d.qos == 0:
		return away
	case waiting >= most:
		return full
	case !d.is(markBacklog) && s.bytes > 0 && s.bytes+weight > s.limits.bytes:
		return heavy
	case !s.limits.all.take(s, d, weight):
		return crowded
	}
	return taken
}

// press takes a delivery for which the queue has no room, if its publisher is to wait.
// The caller holds mu, as in all that follows but wait; v is what it would be otherwise.
func (s *session) press(d *delivery, weight int, v verdict) verdict {
	switch waiting := s.queue.Len() - s.backlog; {
	case s.conn == nil, s.slow, d.qos == 0, waiting >= 2*s.limits.messages, s.bytes+weight > 2*s.limits.bytes:
		return v
	case !s.limits.all.take(s, d, weight):
		return crowded
	}
	if s.pressed == nil {
		now := time.Now()
		s.pressed = &pressed{since: now, moved: now, lastID: s.lastID, over: make(chan struct{})}
	}
	return owing
}

// push puts a delivery that is counted into the queue.
func (s *session) push(d *delivery, weight int) {
	if d.is(markBacklog) {
		s.backlog++
		s.backlogBytes += weight
	} else {
		s.bytes += weight
	}
	s.queue.Push(d)
}

// send moves the oldest of the queue to what is in flight. It is still counted.
func (s *session) send() {
	d := s.queue.At(0)
	if d.is(markBacklog) {
		s.backlog--
	}
	s.inflight.Push(d)
	s.queue.RemoveAt(0)
	s.left++
}

// discard takes the oldest off the queue for good.
func (s *session) discard() {
	d := s.queue.At(0)
	if d.is(markBacklog) {
		s.backlog--
	}
	s.uncount(d)
	s.queue.RemoveAt(0)
	s.left++
}

// sift discards what waits and is not to stay. The caller holds mu.
func (s *session) sift(stays func(*delivery) bool) {
	all, left := s.queue.Len(), newQueue()
	for s.queue.Len() > 0 {
		if d := s.queue.At(0); stays(d) {
			left.Push(d)
			s.queue.RemoveAt(0)
		} else {
			s.discard()
		}
	}
	s.queue = left
	s.counters.Drop(Protocol, bridge.Disconnected, all-left.Len())
}

// uncount ends what a delivery counts for.
func (s *session) uncount(d *delivery) {
	weight := d.m.weight()
	if d.is(markBacklog) {
		s.backlogBytes -= weight
	} else {
		s.bytes -= weight
	}
	s.limits.all.drop(s, d, weight)
}

// settle ends the delivery at i of those that were sent.
func (s *session) settle(i int) {
	d := s.inflight.At(i)
	if s.tries > 0 && d.seq == s.suspect { // suspect is on another line of the cache
		s.tries = 0
	}
	s.uncount(d)
	s.inflight.RemoveAt(i)
	s.sent--
	if i < int(s.overtaken) {
		s.overtaken--
	}
	s.changed(false)
}

// take finds room for a delivery. The caller holds the session's lock, as in
// all that follows.
func (b *budget) take(s *session, d *delivery, weight int) bool {
	need := weight + entryBytes
	if s.conn != nil && (s.loose+need <= s.lent || b.lend(s, need)) {
		s.loose += need
		return true
	}
	cost := int64(entryBytes)
	if !d.m.isHeld() {
		cost += d.m.bodyBytes()
	}
	if !b.room(s, cost, weight) {
		return false
	}
	d.marks |= markHeld
	b.used.Add(entryBytes + d.m.hold())
	return true
}

// lend lends a session as much as it needs for one more delivery, while there is
// plenty.
func (b *budget) lend(s *session, need int) bool {
	more := (s.loose + need - s.lent + loanBytes - 1) / loanBytes * loanBytes
	if s.lent+more > loanMost || b.used.Load()+int64(more) > b.limit/4 {
		return false
	}
	b.used.Add(int64(more))
	s.lent += more
	return true
}

// room reports whether a session may hold so much more. Who has nothing waiting
// may always have a message if the client is there to take it, or it is small;
// who has less than its share may use the reserve.
func (b *budget) room(s *session, cost int64, weight int) bool {
	free := b.limit - b.used.Load()
	waiting := s.bytes + s.backlogBytes
	switch {
	case cost <= free-b.reserve():
		return true
	case waiting == 0:
		return s.conn != nil || weight <= smallBytes || cost <= free
	}
	return cost <= free && int64(waiting+weight) <= b.reserve()/max(b.sessions.Load(), 1)
}

// drop ends a delivery's part.
func (b *budget) drop(s *session, d *delivery, weight int) {
	if d.is(markHeld) {
		b.used.Add(d.m.unhold() - entryBytes)
		return
	}
	if s.loose -= weight + entryBytes; s.loose == 0 && s.lent > 0 && b.used.Load() > b.limit/8 {
		b.settle(s)
	}
}

// settle gives back what a session has borrowed and does not use.
func (b *budget) settle(s *session) {
	b.used.Add(int64(s.loose - s.lent))
	s.lent = s.loose
}
