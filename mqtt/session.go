package mqtt

import (
	"sync"
	"sync/atomic"
	"time"

	"watchtower/bridge"
	"watchtower/bridge/outbound"
)

// sessionKey identifies a session: the sender, the client id and the user together.
// A sender without a name is known by its client id alone.
type sessionKey struct {
	sender bridge.SenderID
	client string
	user   string // of the configuration; empty: somebody with the secret key or a token
}

// session is what a client is to receive, whether it is connected or not: one
// queue for QoS 0, 1 and 2 alike, so that their order holds, its own packet ids
// and its own window. It knows no socket: a connection takes from it by fill
// (outgoing.go).
type session struct {
	// What each delivery changes comes first, within one line of the processor's cache
	// (64 bytes). The second line is only read, but for sessions that are durable: two
	// cores share it. The third belongs to who sends, and no delivery touches it. With
	// fifty sessions on two cores, one line more that both want costs a twentieth.
	mu    sync.Mutex // guards what follows down to orphans
	conn  *conn      // nil: away
	queue outbound.Fifo[delivery]
	bytes int // weight of queue and inflight, without the backlog
	loose int // see budget
	ended bool
	noted bool // it is on the keeper's list
	// durable: it outlives its connection, as keep > 0 says.
	durable bool
	left    uint32 // how many have left the queue: what waits is known again by that

	lent         int         // see budget
	limits       queueLimits // it does not change, nor does keeper
	backlog      int         // deliveries in queue that were retained when the client subscribed
	backlogBytes int         // weight of those in queue and inflight
	keeper       *keeper     // nil: nothing is kept on disk
	lastSeq      uint64      // of the last delivery at QoS 1 or 2, if it is durable

	inflight  outbound.Fifo[delivery] // in the order of their ids
	sent      int                     // of inflight, on this connection
	window    int
	received  *received // QoS 2 publishes whose PUBREL is due; nil: there were none
	pressed   *pressed  // publishers wait for it; nil: nobody does
	lastID    uint16
	overtaken uint16 // of sent, from the oldest on: later ones were acknowledged
	tries     uint8  // connections that ended with suspect unacknowledged
	slow      bool   // nobody waits for it
	stale     bool   // its record has to be written, not only its queue

	lastSaved uint64      // lastSeq, when the keeper last looked
	suspect   uint64      // seq of what may be more than the client can take
	lonely    *time.Timer // until it ends, the suspect is sent alone; nil: with the others

	orphans []*message // what another of a shared subscription is to get, once it has ended

	key      sessionKey
	hold     *bridge.Hold
	voucher  string // of its sender when it began
	owner    *owner
	counters *bridge.Counters
	access   atomic.Pointer[access] // nil: everything
	overflow atomic.Int64           // Unix seconds when a full queue was last logged
	number   uint64                 // on disk

	subMu    sync.Mutex // guards what it subscribed to; taken before any other lock
	subs     map[string]*subscription
	subBytes int // about what they take of memory, at most
	channels map[bridge.Channel]*joined

	// The keeper's own:
	savedRows  []savedRow // what is on disk, in order
	savedGroup uint64     // when its record was first written; 0: it was not
	savedIDs   bool       // so are ids that it received
	idsGroup   uint64     // when those were first written; 0: they were not

	// Guarded by sessions.mu:
	keep   time.Duration // how long it outlives its connection
	until  time.Time     // when it ends, while it is away
	will   *publication  // waits for willAt, while it is away
	willAt time.Time
	graced *grace // not nil: the gateway ended before its client did
}

var deliveries outbound.Pool[delivery]

func newQueue() outbound.Fifo[delivery] { return outbound.Fifo[delivery]{From: &deliveries} }

// queueLimits are those of one session, and what all have together.
type queueLimits struct {
	messages, bytes int
	all             *budget
}

// verdict says what became of a delivery that was offered to a session.
type verdict uint8

const (
	taken   verdict = iota
	owing           // likewise, though the queue is full: its publisher is to wait (pressure.go)
	full            // the queue has no room
	heavy           // the queue has no room for so many bytes
	crowded         // nor have all queues together
	away            // the client is not connected, and the message does not wait
	gone            // the session has ended, and its route is about to go
)

// took reports whether it was taken.
func (v verdict) took() bool { return v <= owing }

// count counts a delivery that was lost.
func (v verdict) count(c *bridge.Counters) {
	switch v {
	case full, heavy, crowded:
		c.Drop(Protocol, bridge.QueueFull, 1)
	case away:
		c.Drop(Protocol, bridge.Away, 1)
	}
}

// changed tells the keeper that the queue changed, or the session's record as
// well. The caller holds mu.
func (s *session) changed(record bool) {
	if !record && !s.durable || s.keeper == nil {
		return
	}
	s.stale = s.stale || record
	if !s.noted {
		s.noted = true
		s.keeper.note(s)
	}
}

// recordChanged tells the keeper that what the session subscribed to, or how
// long it lives, has changed.
func (s *session) recordChanged() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changed(true)
}

func (s *session) sender() *bridge.Sender { return s.hold.Sender() }

// offer queues a delivery if there is room. patient says that its publisher can wait
// until there is.
func (s *session) offer(d *delivery, patient bool) verdict {
	return s.put(d, s.limits.messages, patient)
}

// greet queues what was retained when the client subscribed. That is not charged
// to what comes live: it comes once, and there may be as much more of it as there
// are retained messages, which are shared.
func (s *session) greet(d *delivery, retained int) verdict {
	d.marks |= markBacklog
	return s.put(d, s.limits.messages+retained, false)
}

func (s *session) put(d *delivery, most int, patient bool) verdict {
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

// attach makes c the session's connection. What was sent and not acknowledged
// is sent again first, in its order: PUBLISH with the DUP flag, or PUBREL
// (MQTT-4.4.0-1).
// The caller holds sessions.mu.
func (s *session) attach(c *conn) {
	s.mu.Lock()
	s.conn, s.sent, s.overtaken = c, 0, 0
	if s.tries >= triesAlone {
		s.lonely = time.AfterFunc(aloneFor, func() { s.join(c) })
	}
	s.hold.Present(Protocol)
	s.window = min(window, int(c.receiveMax))
	s.durable = s.keep > 0
	s.changed(true)
	s.mu.Unlock()
}

// detach makes the session away, if c is still its connection, and drops what
// does not wait: messages at QoS 0. At the connection's own end it may find that the
// client cannot take a message: tooMuch.
func (s *session) detach(c *conn, own bool) (was bool, tooMuch *message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn != c {
		return false, nil
	}
	if own {
		tooMuch = s.blame()
	}
	s.conn = nil
	s.letGo()
	s.hold.Away(Protocol)
	s.changed(true)
	keep := newQueue()
	n := s.queue.Len()
	for s.queue.Len() > 0 {
		if s.queue.At(0).qos > 0 {
			keep.Push(s.queue.At(0))
			s.queue.RemoveAt(0)
		} else {
			s.discard()
		}
	}
	s.queue = keep
	s.limits.all.settle(s)
	s.counters.Drop(Protocol, bridge.Disconnected, n-keep.Len())
	return true, tooMuch
}

// letGo ends what waits for its connection or by it.
func (s *session) letGo() {
	s.relieve(true)
	if s.lonely != nil {
		s.lonely.Stop()
		s.lonely = nil
	}
}

// end makes the session refuse deliveries, and drops what waits.
func (s *session) end() *conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return nil
	}
	s.ended = true
	s.limits.all.sessions.Add(-1)
	s.changed(true)
	s.limits.all.used.Add(-s.received.bytes())
	s.received = nil
	lost := 0
	for _, q := range []*outbound.Fifo[delivery]{&s.inflight, &s.queue} {
		for i := range q.Len() {
			d := q.At(i)
			s.uncount(d)
			switch {
			case d.is(markReleased): // the client has it
			case d.is(markShared) && d.qos > 0:
				s.orphans = append(s.orphans, d.m)
			default:
				lost++
			}
		}
		q.Clear()
	}
	s.counters.Drop(Protocol, bridge.Disconnected, lost)
	s.backlog = 0
	s.limits.all.settle(s)
	c := s.conn
	s.conn = nil
	s.letGo()
	return c
}

func (s *session) connection() *conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conn
}

func (s *session) hasEnded() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended
}
