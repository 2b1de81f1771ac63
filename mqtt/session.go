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
	// durable: it outlives its connection, as expiry > 0 says.
	durable bool
	left    uint32 // how many have left the queue: what waits is known again by that

	lent         int         // see budget
	limits       queueLimits // it does not change, nor does unsaved
	backlog      int         // deliveries in queue that were retained when the client subscribed
	backlogBytes int         // weight of those in queue and inflight
	unsaved      *changes    // nil: nothing is kept on disk
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
	expiry time.Duration // how long it outlives its connection
	until  time.Time     // when it ends, while it is away
	will   *message      // waits for willAt, while it is away
	willAt time.Time
	graced *grace // not nil: the gateway ended before its client did
}

// window bounds how many deliveries at QoS 1 and 2 a client may leave unacknowledged.
const window = 1024

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

// changes are the sessions that changed since the keeper last took them, each once.
type changes struct {
	mu  sync.Mutex
	all []*session
}

// add puts sessions on the list. The caller sees to it that each is there once.
func (c *changes) add(s ...*session) {
	c.mu.Lock()
	c.all = append(c.all, s...)
	c.mu.Unlock()
}

// take returns the list, and begins a new one.
func (c *changes) take() []*session {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := c.all
	c.all = nil
	return all
}

// changed tells the keeper that the queue changed, or the session's record as
// well. The caller holds mu.
func (s *session) changed(record bool) {
	if !record && !s.durable || s.unsaved == nil {
		return
	}
	s.stale = s.stale || record
	if !s.noted {
		s.noted = true
		s.unsaved.add(s)
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

// pressed is a session whose queue is full, and for which publishers wait.
type pressed struct {
	since, moved time.Time
	lastID       uint16        // of what was sent, when it last moved
	over         chan struct{} // closed when nobody has to wait any more
}

// subscription is one filter of one session. It does not change: a SUBSCRIBE
// to the same filter puts a new one in its place.
type subscription struct {
	session *session
	filter  string // as it was given, share name included
	topics  string // the filter of the topics that it gets, without the share name
	shared  bool
	qos     byte // granted
	noLocal bool
	asIs    bool // retain as published
	subID   int  // subscription identifier; 0: none
	means   bridge.Filter
	watch   func(topic string, payload []byte) // of the gateway's own, which has no session; else nil
}

// joined is what a session's filters make of one channel.
type joined struct {
	broadcasts, sends int // filters that match them
	attachment        *bridge.Attachment
}

// grace is the time after a start in which the will of a client waits that was
// connected when the gateway ended: the gateway's end is not the client's. If the
// client comes back there is no will. Many come back by another client id; so a
// will is given up too once somebody wrote its topic: what they say is newer.
type grace struct {
	written atomic.Bool
	unwatch func()
}

// owner ends whatever session a hold came to belong to.
type owner struct {
	mu    sync.Mutex
	ended bool
	end   func()
}

func (o *owner) deleted() {
	o.mu.Lock()
	o.ended = true
	end := o.end
	o.mu.Unlock()
	if end != nil {
		end()
	}
}

// adopt says what ends with the sender; it is called at once if that is over.
func (o *owner) adopt(end func()) {
	o.mu.Lock()
	o.end = end
	ended := o.ended
	o.mu.Unlock()
	if ended {
		end()
	}
}

// sessions knows every session by its key, connected or away.
type sessions struct {
	mu   sync.Mutex
	all  map[sessionKey]*session
	away map[*session]struct{}

	coming map[sessionKey]chan struct{} // who is about to get one; closed when it has it
}

func newSessions() *sessions {
	return &sessions{all: map[sessionKey]*session{}, away: map[*session]struct{}{}, coming: map[sessionKey]chan struct{}{}}
}

// nameless reports whether a client id has a session whose sender has no name.
func (ss *sessions) nameless(client, user string) bool {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	return ss.all[sessionKey{client: client, user: user}] != nil
}

// turn waits until nobody else is about to get the session of a key, and returns
// what lets the next one.
func (ss *sessions) turn(key sessionKey) (next func()) {
	mine := make(chan struct{})
	for {
		ss.mu.Lock()
		before := ss.coming[key]
		if before == nil {
			ss.coming[key] = mine
		}
		ss.mu.Unlock()
		if before == nil {
			break
		}
		<-before
	}
	return func() {
		ss.mu.Lock()
		delete(ss.coming, key)
		ss.mu.Unlock()
		close(mine)
	}
}
