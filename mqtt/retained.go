package mqtt

import (
	"hash/maphash"
	"sync"
	"time"

	"watchtower/bridge"
)

// retained keeps the last retained message of each topic.
type retained struct {
	most, mostBytes int // limits for the clients' messages: number, bytes of memory
	budget          *budget

	seed  maphash.Seed
	turns [retainedTurns]sync.Mutex // by topic, taken before mu: see Broker.deliverRetained

	mu       sync.RWMutex
	tree     levels[message]
	n        int                   // number of all
	clients  int                   // number of the clients' messages
	bytes    int                   // memory of those, without the tree
	expiring map[*message]struct{} // messages with an expiry interval
	replica  *replica              // nil: they are not shared with other gateways
	keep     bool                  // changes are noted in changed
	noted    func()                // tells the keeper of the first one
	changed  map[string]*message   // by topic, since takeChanged; an empty payload: removed
}

// retainedTurns bounds how many topics can have a retained message delivered at once.
const retainedTurns = 64

// turn returns the lock for changing and delivering a topic's retained message.
func (r *retained) turn(topic string) *sync.Mutex {
	return &r.turns[maphash.String(r.seed, topic)%retainedTurns]
}

// source says where a retained message comes from.
type source byte

const (
	published source = iota // by a client: limited, and written to disk
	own                     // by the gateway, which publishes it again at each start
	kept                    // by the gateway, and written to disk
	forAll                  // by the gateway for all gateways, and written to disk
	restored                // from disk
)

// isOwn reports whether the gateway published it, or another gateway for all.
func (s source) isOwn() bool { return s == own || s == kept || s == forAll }

// by returns who published a message that is shared.
func (m *message) by(from source) publisher {
	switch {
	case from == forAll:
		return aGateway
	case m.own:
		return aMap
	}
	return aClient
}

// footprint is about how many bytes of memory a retained message takes, without the tree.
func footprint(m *message) int {
	n := int(m.bodyBytes())
	if m.expires != 0 {
		n += childBytes
	}
	return n
}

// size is about the bytes of the clients' retained messages. The caller holds mu.
func (r *retained) size() int { return r.bytes + r.tree.bytes }

// set replaces a topic's message; an empty payload removes it. A message that would
// exceed a limit is refused.
func (r *retained) set(m *message, from source) error {
	// The copy does not refer to the publisher's session or to encodings.
	at, by := m.at, m.by(from)
	m = m.again()
	m.retain, m.own, m.at = true, from.isOwn(), at
	m.shelve()
	r.mu.Lock()
	defer r.mu.Unlock()
	old := r.tree.get(m.topic)
	if len(m.payload) > 0 && (from == published || from == restored) {
		if err := r.admit(m, old); err != nil {
			return err
		}
	}
	switch {
	case from == published, from == kept, from == forAll:
		r.note(m)
	case from == own && old != nil && !old.own:
		r.note(&message{topic: m.topic}) // the client's message must not return at the next start
	}
	if r.replica != nil && (from == published || from == forAll) {
		state := isHeld
		if len(m.payload) == 0 {
			state = isRemoved
		}
		r.replica.say(m.topic, state, by, time.UnixMilli(at))
	}
	if old != nil {
		r.forget(old)
	}
	if len(m.payload) == 0 {
		r.tree.remove(m.topic)
		return nil
	}
	r.place(m)
	return nil
}

// place holds a message on a topic that has none. The caller holds mu.
func (r *retained) place(m *message) {
	r.tree.set(m.topic, m)
	r.n++
	if !m.own {
		r.clients++
		r.bytes += footprint(m)
	}
	if m.expires != 0 {
		if r.expiring == nil {
			r.expiring = map[*message]struct{}{}
		}
		r.expiring[m] = struct{}{}
	}
}

// stamp returns the stamp of what was last retained or removed on a topic; 0: it is not shared.
func (r *retained) stamp(topic string) bridge.Stamp {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.replica.marks[topic].stamp
}

// markExpired marks that a topic's message has expired, if it is shared with other gateways. Its
// gateway has it removed from the space's store. The caller holds mu.
func (r *retained) markExpired(topic string) {
	if r.replica == nil {
		return
	}
	s := r.replica
	known, shared := s.marks[topic]
	if !shared {
		return
	}
	s.set(topic, mark{known.stamp, isRemoved, known.by})
	if known.stamp.Slot() == s.clock.Slot() {
		s.unwritten[topic] = 0
	}
}

// admit checks the limits for a client's message that replaces old, which may be nil. The
// caller holds mu.
func (r *retained) admit(m, old *message) error {
	grows := footprint(m)
	switch {
	case old == nil:
		grows += heapSize(len(m.topic)) + 2*nodeBytes
	case !old.own:
		grows -= footprint(old)
	}
	switch {
	case old == nil && r.clients >= r.most:
		return errRetained
	case grows > 0 && r.size()+grows > r.mostBytes:
		return errRetainedBytes
	}
	return nil
}

// forget takes a message out of the counts. The caller holds mu, and removes it from
// the tree.
func (r *retained) forget(m *message) {
	delete(r.expiring, m)
	r.budget.used.Add(m.unshelve())
	r.n--
	if !m.own {
		r.clients--
		r.bytes -= footprint(m)
	}
}

// note stores a change for the keeper. The caller holds mu.
func (r *retained) note(m *message) {
	if !r.keep {
		return
	}
	if r.changed == nil {
		r.changed = map[string]*message{}
		r.noted()
	}
	r.changed[m.topic] = m
}

// takeChanged returns the last change of each topic since it was last called.
func (r *retained) takeChanged() map[string]*message {
	r.mu.Lock()
	defer r.mu.Unlock()
	changed := r.changed
	r.changed = nil
	return changed
}

// returnChanged notes changes again that could not be written, unless a newer one came.
func (r *retained) returnChanged(left map[string]*message) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range left {
		if r.changed[m.topic] == nil {
			r.note(m)
		}
	}
}

// match calls found with each unexpired message whose topic matches a filter, and with the
// number of all retained messages. Wildcards do not match topics that begin with $
// (MQTT-4.7.2-1). The lock keeps a newer message from being delivered before an older
// one is found, so found must only queue.
func (r *retained) match(filter string, now time.Time, found func(m *message, of int)) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	r.tree.ofFilter(filter, func(m *message) {
		if !m.expired(now) {
			found(m, r.n)
		}
	})
}

// expire removes messages that have expired. It looks only at those with an expiry.
func (r *retained) expire(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for m := range r.expiring {
		if m.expired(now) {
			r.forget(m)
			r.tree.remove(m.topic)
			r.note(&message{topic: m.topic})
			r.markExpired(m.topic)
		}
	}
}
