package mqtt

import (
	"time"

	"watchtower/bridge"
)

// merged says what became of a retained message that another gateway, or the space, has.
type merged byte

const (
	wasOlder  merged = iota // a newer one is known
	wasKnown                // it is the one that is known
	isNewest                // it was taken
	wasSilent               // it was taken, and there is nothing to deliver
)

// merge takes a message of another gateway if it is newer than what is known of its topic. Stored
// says that the space's store has it. On an error it is newer, but exceeds a limit: then nothing
// is retained.
func (r *retained) merge(m *message, stamp bridge.Stamp, by publisher, stored bool, now time.Time) (merged, error) {
	m = m.again()
	m.retain, m.own, m.at = true, by == aGateway, now.UnixMilli()
	m.shelve()
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.replica
	if !s.clock.Saw(stamp, now) {
		return wasOlder, errFuture
	}
	known, ok := s.marks[m.topic]
	switch {
	case ok && stamp < known.stamp:
		if stored {
			s.older(m.topic, known, now)
		}
		return wasOlder, nil
	case ok && stamp == known.stamp:
		if stored {
			r.stored(m.topic, known)
		}
		return wasKnown, nil
	}
	err := r.replace(m, stamp, by, now)
	expired := len(m.payload) > 0 && m.expired(now)
	switch {
	case (stored || err != nil) && !expired:
		r.stored(m.topic, s.marks[m.topic])
	default:
		s.unwritten[m.topic] = now.Add(othersDelay).UnixMilli()
	}
	if expired { // if the store has it, it is removed there
		return wasSilent, err
	}
	return isNewest, err
}

// replace puts a message of another gateway in place of the one that is held. The caller holds mu.
func (r *retained) replace(m *message, stamp bridge.Stamp, by publisher, now time.Time) (err error) {
	old := r.tree.get(m.topic)
	state := isHeld
	switch {
	case len(m.payload) == 0 || m.expired(now):
		state = isRemoved
	case !m.own:
		if err = r.admit(m, old); err != nil {
			state = isTooMuch
		}
	}
	if old != nil {
		r.forget(old)
		r.tree.remove(m.topic)
	}
	r.replica.set(m.topic, mark{stamp, state, by})
	if state == isHeld {
		r.place(m)
		r.note(m)
	} else {
		r.note(&message{topic: m.topic})
	}
	return err
}

// stored notes that the space's store has the newest message of a topic. The caller holds mu.
func (r *retained) stored(topic string, m mark) {
	if _, waited := r.replica.unwritten[topic]; !waited {
		return
	}
	delete(r.replica.unwritten, topic)
	if m.state == isRemoved {
		r.note(&message{topic: topic}) // the store remembers it, the disk need not
	}
}

// drop removes a message here alone, if it is still the one that is held.
func (r *retained) drop(m *message) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.tree.get(m.topic) != m {
		return false
	}
	r.forget(m)
	r.tree.remove(m.topic)
	delete(r.replica.marks, m.topic)
	r.note(&message{topic: m.topic})
	return true
}
