package mqtt

import (
	"hash/maphash"
	"sync"
	"time"
)

// retained keeps the last retained message of each topic.
type retained struct {
	most, mostBytes int // of what is the clients'; bytes of memory
	budget          *budget

	seed  maphash.Seed
	turns [retainedTurns]sync.Mutex // by topic, taken before mu: see Broker.deliverRetained

	mu       sync.RWMutex
	tree     levels[message]
	n        int                   // all
	clients  int                   // of them the clients' own
	bytes    int                   // of those, without the tree
	expiring map[*message]struct{} // those that have a message expiry interval
	keep     bool                  // for takeChanged
	changed  map[string]*message   // clients' topics, since takeChanged; an empty payload: removed
}

// retainedTurns is of how many topics a retained message can be on its way at once,
// at most.
const retainedTurns = 64

// turn is who may change and deliver what a topic has retained.
func (r *retained) turn(topic string) *sync.Mutex {
	return &r.turns[maphash.String(r.seed, topic)%retainedTurns]
}

// Where a retained message comes from.
type source byte

const (
	published source = iota // by a client: within the limits, and written to disk
	own                     // by the gateway, which writes it anew at each start
	kept                    // by the gateway, and written to disk
	restored                // from disk
)

// footprint is about what a retained message takes of memory, besides its topic's
// part of the tree.
func footprint(m *message) int {
	n := int(m.bodyBytes())
	if m.expires != 0 {
		n += childBytes
	}
	return n
}

// size is about what the clients' retained messages take. The caller holds mu.
func (r *retained) size() int { return r.bytes + r.tree.bytes }

// set puts a message in the place of the topic's last; an empty payload
// removes it. What would go over a limit is refused.
func (r *retained) set(m *message, from source) error {
	// What is kept does not keep its publisher's session, nor encodings.
	m = m.again()
	m.retain, m.own = true, from == own || from == kept
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
	case from == published, from == kept:
		r.note(m)
	case from == own && old != nil && !old.own:
		r.note(&message{topic: m.topic}) // a client's is not to come back with the next start
	}
	if old != nil {
		r.forget(old)
	}
	if len(m.payload) == 0 {
		r.tree.remove(m.topic)
		return nil
	}
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
	return nil
}

// admit reports whether a client's message is within the limits, in place of old
// if that is not nil. The caller holds mu.
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

// forget takes back what a message counted for. The caller holds mu, and takes
// it out of the tree.
func (r *retained) forget(m *message) {
	delete(r.expiring, m)
	r.budget.used.Add(m.unshelve())
	r.n--
	if !m.own {
		r.clients--
		r.bytes -= footprint(m)
	}
}

// note remembers a change for the keeper. The caller holds mu.
func (r *retained) note(m *message) {
	if !r.keep {
		return
	}
	if r.changed == nil {
		r.changed = map[string]*message{}
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

// returnChanged returns those that could not be written, unless they changed again.
func (r *retained) returnChanged(left map[string]*message) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range left {
		if r.changed[m.topic] == nil {
			r.note(m)
		}
	}
}

// match calls found with each message whose topic matches a filter and that
// has not expired, and with how many there are in all. Wildcards do not match
// topics that begin with $ (MQTT-4.7.2-1). No message changes meanwhile, so
// that a newer one is not delivered before an older one is found; found only
// queues.
func (r *retained) match(filter string, now time.Time, found func(m *message, of int)) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	r.tree.ofFilter(filter, func(m *message) {
		if !m.expired(now) {
			found(m, r.n)
		}
	})
}

// expire forgets messages that have expired. What never expires costs nothing.
func (r *retained) expire(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for m := range r.expiring {
		if m.expired(now) {
			r.forget(m)
			r.tree.remove(m.topic)
			r.note(&message{topic: m.topic})
		}
	}
}
