package mqtt

import (
	"time"

	"watchtower/bridge"
)

// offer queues a delivery if there is room, or if its publisher can wait.
func (s *session) offer(d *delivery, by handing) verdict {
	return s.enqueue(d, s.limits.messages, by)
}

// greet queues a message that was retained when the client subscribed. These do not count
// for the queue's limit: they come once, and the queue shares them with the retained
// messages. So the limit is higher by their number, retained.
func (s *session) greet(d *delivery, retained int) verdict {
	d.marks |= markBacklog
	return s.enqueue(d, s.limits.messages+retained, handing{})
}

func (s *session) enqueue(d *delivery, most int, by handing) verdict {
	weight := d.m.weight()
	s.mu.Lock()
	v := s.admit(d, weight, most)
	if by.owe != nil && (v == full || v == heavy) {
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
	filling := s.queue.Len() > s.limits.messages/4 || s.bytes > s.limits.bytes/4
	s.mu.Unlock()
	switch {
	case c == nil:
	case filling && by.round != nil: // before anything is dropped
		by.round.Write(c.writer)
	default:
		c.wake(by.round)
	}
	return v
}

// admit reports whether a delivery may wait, and counts it in the budget if so.
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

// press takes a delivery for which the queue has no room, if its publisher must wait;
// otherwise it returns v. The caller holds mu, as in all functions below.
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

// push puts a delivery that is counted in the budget into the queue.
func (s *session) push(d *delivery, weight int) {
	if d.is(markBacklog) {
		s.backlog++
		s.backlogBytes += weight
	} else {
		s.bytes += weight
	}
	s.queue.Push(d)
}

// send moves the oldest delivery from the queue to inflight. It is still counted.
func (s *session) send() {
	d := s.queue.At(0)
	if d.is(markBacklog) {
		s.backlog--
	}
	s.inflight.Push(d)
	s.queue.RemoveAt(0)
	s.left++
}

// discard drops the oldest delivery of the queue.
func (s *session) discard() {
	d := s.queue.At(0)
	if d.is(markBacklog) {
		s.backlog--
	}
	s.uncount(d)
	s.queue.RemoveAt(0)
	s.left++
}

// sift drops and counts the queued deliveries for which stays is false.
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
	s.counters.Lose(s.sender(), Protocol, bridge.Disconnected, all-left.Len())
}

// uncount takes a delivery out of the session's and the budget's counts.
func (s *session) uncount(d *delivery) {
	weight := d.m.weight()
	if d.is(markBacklog) {
		s.backlogBytes -= weight
	} else {
		s.bytes -= weight
	}
	s.limits.all.drop(s, d, weight)
}

// settle ends the sent delivery at index i of inflight.
func (s *session) settle(i int) {
	d := s.inflight.At(i)
	if s.tries > 0 && d.seq == s.suspect { // tries first: suspect is on another cache line
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

// take counts a delivery, and reports whether there is room for it.
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

// lend lends a session enough for one more delivery, while the budget is at most a
// quarter full.
func (b *budget) lend(s *session, need int) bool {
	more := (s.loose + need - s.lent + loanBytes - 1) / loanBytes * loanBytes
	if s.lent+more > loanMost || b.used.Load()+int64(more) > b.limit/4 {
		return false
	}
	b.used.Add(int64(more))
	s.lent += more
	return true
}

// room reports whether a session may hold cost more bytes. An empty queue always takes
// a message if its client is connected, or the message is small. A session below its
// share may use the reserve.
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

// drop takes a delivery out of the count.
func (b *budget) drop(s *session, d *delivery, weight int) {
	if d.is(markHeld) {
		b.used.Add(d.m.unhold() - entryBytes)
		return
	}
	if s.loose -= weight + entryBytes; s.loose == 0 && s.lent > 0 && b.used.Load() > b.limit/8 {
		b.settle(s)
	}
}

// settle takes back the unused part of a session's loan.
func (b *budget) settle(s *session) {
	b.used.Add(int64(s.loose - s.lent))
	s.lent = s.loose
}

// restoreDelivery puts a delivery of an earlier home to the end: in flight if it and all before it
// were sent. The caller holds mu.
func (s *session) restoreDelivery(d *delivery) {
	weight := d.m.weight()
	if !s.limits.all.take(s, d, weight) {
		s.counters.Lose(s.sender(), Protocol, bridge.QueueFull, 1)
		return
	}
	s.lastSeq++
	d.seq = s.lastSeq
	sent := d.id != 0 && s.queue.Len() == 0
	if !sent {
		d.id, d.marks = 0, d.marks&^markReleased
	}
	s.push(d, weight)
	if sent { // it is alone in the queue
		s.send()
	}
}
