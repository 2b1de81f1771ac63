package mqtt

import (
	"cmp"
	"math"
	"slices"
	"time"

	"watchtower/bridge"
)

// replica is what a gateway that shares its retained messages knows of them besides. A message
// with a larger stamp replaces one with a smaller, whichever way it came: live from another
// gateway, from the space's store, or from this gateway's disk. So all gateways come to have the
// same. What was removed has a mark too, so that an older message does not bring it back.
//
// The space's store is written late. A topic is in unwritten until the store was heard to have
// its newest message. Its gateway writes it at once, the others if that one has not done so for
// a while, as it may be dead. retained.mu guards it.
type replica struct {
	clock     bridge.StampClock
	marks     map[string]mark  // by topic
	unwritten map[string]int64 // by topic: when it is to be written, Unix ms
	removed   int              // marks of removed topics
	most      int              // of those
	space     string           // its name, once it is known
	inStep    time.Time        // when all was known that the space has; zero: not yet since the start
	noted     time.Time        // inStep as it is on disk
	before    time.Time        // inStep as it was on disk at the start
}

// mark is the newest that is known of a topic.
type mark struct {
	stamp bridge.Stamp
	state topicState
	by    publisher
}

// publisher says who published what gateways tell each other.
type publisher byte

const (
	aClient  publisher = iota
	aMap               // a gateway, by a channel's map
	aGateway           // a gateway, for all
)

// topicState says what became of a topic's newest message.
type topicState byte

const (
	isHeld    topicState = iota
	isRemoved            // it was a removal, or has expired
	isTooMuch            // it exceeds a limit here: the gateway does not have it, others may
)

const (
	// othersDelay is how long a gateway waits for another to write what that one published.
	othersDelay = 10 * time.Second
	// againDelay is how long it takes at most until the store was heard to have what was written.
	againDelay = 10 * time.Second
	// removedFor is how long it is known that a topic was removed. A gateway that was away for
	// longer drops what the space does not have.
	removedFor  = bridge.RemovedFor
	removedMost = 1000 // marks of removed topics, at least
	never       = math.MaxInt64
)

func newReplica(slot bridge.Slot, most int) *replica {
	return &replica{
		clock: bridge.NewStampClock(slot), marks: map[string]mark{}, unwritten: map[string]int64{}, most: max(most, removedMost),
	}
}

// say marks what this gateway publishes.
func (s *replica) say(topic string, state topicState, by publisher, now time.Time) {
	s.set(topic, mark{s.clock.Next(now), state, by})
	s.unwritten[topic] = 0
}

// set replaces a topic's mark.
func (s *replica) set(topic string, m mark) {
	if s.marks[topic].state == isRemoved {
		s.removed--
	}
	s.marks[topic] = m
	if m.state != isRemoved {
		return
	}
	if s.removed++; s.removed > s.most {
		s.forgetRemoved(func(at int, _ mark) bool { return at < s.most/4 })
	}
}

// forgetRemoved drops marks of removed topics that the store has: those that f selects, by their
// place in the order of age.
func (s *replica) forgetRemoved(f func(int, mark) bool) {
	var topics []string
	for topic, m := range s.marks {
		if _, waits := s.unwritten[topic]; m.state == isRemoved && !waits {
			topics = append(topics, topic)
		}
	}
	slices.SortFunc(topics, func(a, b string) int { return cmp.Compare(s.marks[a].stamp, s.marks[b].stamp) })
	for i, topic := range topics {
		if f(i, s.marks[topic]) {
			delete(s.marks, topic)
			s.removed--
		}
	}
}

// older notes that the store has an older message than this gateway.
func (s *replica) older(topic string, m mark, now time.Time) {
	if m.state == isTooMuch {
		return
	}
	s.unwritten[topic] = now.UnixMilli()
	if m.stamp.Slot() != s.clock.Slot() {
		s.unwritten[topic] = now.Add(othersDelay).UnixMilli()
	}
}

// begin says that it is not known what the store has.
func (s *replica) begin() {
	for topic, m := range s.marks {
		if m.state == isTooMuch { // it may be told again
			delete(s.marks, topic)
			continue
		}
		s.unwritten[topic] = never
	}
	s.inStep = time.Time{}
}

// takeUnwritten returns topics that are to be written now.
func (s *replica) takeUnwritten(most int, now time.Time) (topics []string) {
	if s.inStep.IsZero() {
		return nil
	}
	for topic, at := range s.unwritten {
		if at <= now.UnixMilli() {
			topics = append(topics, topic)
			s.unwritten[topic] = now.Add(againDelay).UnixMilli()
			if len(topics) == most {
				break
			}
		}
	}
	return topics
}
