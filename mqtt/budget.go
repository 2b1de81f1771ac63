package mqtt

import "sync/atomic"

// budget bounds what the queues of all sessions hold together. A message's body
// counts once, however many sessions it waits for, with the encodings that were
// made of it; each entry of a queue counts too.
//
// Counting bodies truly costs two atomic steps on a line of memory that all
// cores want, so who keeps up does not do it: a connected session borrows some
// bytes, and what waits for it within those counts in full, for it alone, and
// needs no step at all. What goes beyond is held: counted by its body.
type budget struct {
	limit    int64
	used     atomic.Int64 // held, and lent
	sessions atomic.Int64
}

const (
	entryBytes = 72       // of a delivery in a queue, and in the keeper's list of rows
	loanBytes  = 8 << 10  // lent at a time
	loanMost   = 64 << 10 // lent to one session
	smallBytes = 4 << 10  // of a message that every session gets that has nothing waiting
)

// reserve is what only those may use who use less than their share of it.
func (b *budget) reserve() int64 { return b.limit / 4 }

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

// A message's state is how many entries hold it, whether it is retained and so
// counted there, and how many bytes it takes.
const (
	bytesMask  = 1<<40 - 1
	stateShelf = 1 << 40 // retained
	stateRef   = 1 << 41
)

// messageBytes is what a message takes besides its texts.
const messageBytes = 176

// bodyBytes is about what a message takes of memory.
func (m *message) bodyBytes() int64 {
	n := messageBytes + heapSize(m.weight())
	if m.channel != nil {
		n += 2 * messageBytes
	}
	return int64(n)
}

func (m *message) isHeld() bool { return m.state.Load() >= stateShelf }

// charged is what a state counts for in the queues.
func charged(state uint64) int64 {
	if state < stateRef || state&stateShelf != 0 {
		return 0
	}
	return int64(state & bytesMask)
}

// hold counts an entry, and returns by how much the queues grow.
func (m *message) hold() int64 {
	now := m.state.Add(stateRef)
	return charged(now) - charged(now-stateRef) + m.measure()
}

// measure puts the size into the state, once.
func (m *message) measure() int64 {
	for {
		was := m.state.Load()
		if was&bytesMask != 0 {
			return 0
		}
		now := was + uint64(m.bodyBytes())
		if m.state.CompareAndSwap(was, now) {
			return charged(now) - charged(was)
		}
	}
}

func (m *message) unhold() int64 {
	now := m.state.Add(^uint64(stateRef - 1))
	return charged(now) - charged(now+stateRef)
}

// grow counts an encoding that was made.
func (m *message) grow(n int) int64 {
	grown := m.measure()
	now := m.state.Add(uint64(n))
	return grown + charged(now) - charged(now-uint64(n))
}

// shelve says that the message is retained, and counted there; unshelve that it
// is not any more.
func (m *message) shelve() { m.state.Store(stateShelf) }

func (m *message) unshelve() int64 {
	now := m.state.And(^uint64(stateShelf)) &^ uint64(stateShelf) // And returns the old value
	return charged(now)
}
