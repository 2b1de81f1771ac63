package mqtt

import (
	"sync"
	"sync/atomic"
	"time"

	"watchtower/bridge"
	"watchtower/bridge/outbound"
)

// sessionKey identifies a session. sender is 0 for a sender without a name.
type sessionKey struct {
	sender bridge.SenderID
	client string
	user   string // configured user; empty: it came with the secret key or a token
}

// session holds a client's subscriptions and deliveries, connected or away: one queue for
// all QoS, which keeps their order, its packet ids and its window. A connection takes
// deliveries from it by fill (outgoing.go).
type session struct {
	// The fields that each delivery changes come first, within one cache line (64 bytes).
	// Deliveries only read the second line, unless the session is durable. The third is the
	// writer's alone. With fifty sessions on two cores, one more shared line costs 5 %.
	mu      sync.Mutex // guards what follows down to orphans
	conn    *conn      // nil: away
	queue   outbound.Fifo[delivery]
	bytes   int // weight of queue and inflight, without the backlog
	loose   int // see budget
	ended   bool
	noted   bool   // it is on the keeper's list
	durable bool   // it outlives its connection: expiry > 0
	left    uint32 // how many have left the queue, for mark

	lent         int         // see budget
	limits       queueLimits // it never changes, nor does unsaved
	backlog      int         // deliveries in queue that were retained when the client subscribed
	backlogBytes int         // weight of those in queue and inflight
	unsaved      *changes    // nil: nothing is kept on disk
	lastSeq      uint64      // of the last delivery at QoS 1 or 2, if durable

	inflight  outbound.Fifo[delivery] // in the order of their ids
	sent      int                     // how many of inflight were sent on this connection
	window    int
	received  *received // QoS 2 publishes whose PUBREL is due; nil: there were none
	pressed   *pressed  // nil: no publisher waits for it
	lastID    uint16
	overtaken uint16 // how many of sent, from the oldest on, a later acknowledgement overtook
	tries     uint8  // connections that ended with suspect unacknowledged
	slow      bool   // publishers do not wait for it
	stale     bool   // its record has to be written, not only its queue

	lastSaved uint64      // lastSeq, when the keeper last looked
	suspect   uint64      // seq of a message that may be too large for the client
	lonely    *time.Timer // until it fires, the suspect is sent alone; nil: with the others

	orphans []*message // of shared subscriptions, for other sessions when this one has ended

	key      sessionKey
	hold     *bridge.Hold
	voucher  string // of its sender, when it began
	counters *bridge.Counters
	access   atomic.Pointer[access] // nil: everything
	overflow atomic.Int64           // Unix seconds when a full queue was last logged
	number   uint64                 // on disk

	subMu    sync.Mutex // guards its subscriptions; taken before any other lock
	subs     map[string]*subscription
	subBytes int // upper bound of their memory
	channels map[bridge.Channel]*joined

	// The keeper's own:
	savedRows  []savedRow // on disk, in order
	savedGroup uint64     // group in which its record was first written; 0: none
	savedIDs   bool       // its received ids are on disk
	idsGroup   uint64     // group in which they were first written; 0: none

	// Guarded by sessions.mu:
	expiry time.Duration // how long it outlives its connection
	until  time.Time     // when it ends, while it is away
	will   *message      // sent at willAt, while it is away
	willAt time.Time
	graced *grace // not nil: its will is held back after the gateway's restart

	claimed uint64 // the time of this gateway's claim (claim.go)
	sought  uint64 // when its client came to the gateway that wants it, as in a claim; 0: none does
	lost    bool   // another gateway has it: its will is not sent
	revived bool   // its client has not come since it was restored or adopted
}

// window bounds how many deliveries at QoS 1 and 2 a client may leave unacknowledged.
const window = 1024

var deliveries outbound.Pool[delivery]

func newQueue() outbound.Fifo[delivery] { return outbound.Fifo[delivery]{From: &deliveries} }

// queueLimits are the limits of one session, and the budget of all.
type queueLimits struct {
	messages, bytes int
	all             *budget
}

// verdict says what became of a delivery that was offered to a session.
type verdict uint8

const (
	taken   verdict = iota
	owing           // taken into a full queue: its publisher must wait (pressure.go)
	full            // the queue has too many messages
	heavy           // the queue has too many bytes
	crowded         // all queues together have too many bytes
	away            // the client is not connected, and the message does not wait
	gone            // the session has ended, and its route will soon be removed
)

func (v verdict) took() bool { return v <= owing }

// count counts the drop of a delivery that a session did not take.
func (v verdict) count(s *session) {
	switch v {
	case full, heavy, crowded:
		s.counters.Lose(s.sender(), Protocol, bridge.QueueFull, 1)
	case away:
		s.counters.Lose(s.sender(), Protocol, bridge.Away, 1)
	}
}

// changes are the sessions that changed since the keeper last took them, each once.
type changes struct {
	mu    sync.Mutex
	all   []*session
	noted chan struct{} // has room for one: there is something to save
}

// add puts sessions on the list. The caller must not add one twice.
func (c *changes) add(s ...*session) {
	c.mu.Lock()
	first := len(c.all) == 0
	c.all = append(c.all, s...)
	c.mu.Unlock()
	if first && len(s) > 0 {
		c.note()
	}
}

// note has the keeper save soon.
func (c *changes) note() {
	select {
	case c.noted <- struct{}{}:
	default:
	}
}

// take returns the list, and begins a new one.
func (c *changes) take() []*session {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := c.all
	c.all = nil
	return all
}

// changed tells the keeper that the queue changed, and with record that the session's
// record did too. The caller holds mu.
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

// recordChanged tells the keeper that the session's record changed.
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

// pressed is the state of a full queue for which publishers wait.
type pressed struct {
	since, moved time.Time
	lastID       uint16        // last packet id that was sent, at moved
	over         chan struct{} // closed when the publishers can go on
}

// subscription is one filter of one session. It does not change: another SUBSCRIBE with
// the same filter replaces it.
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
	peer    *peerGroup // of a shared subscription at another gateway, without a session; else nil
	watch   *watcher   // for Broker.Watch, without a session; else nil
}

// peerGroup is a shared subscription at another gateway.
type peerGroup struct {
	at              bridge.Slot
	connected, away atomic.Int32
}

// groups are the shared subscriptions of a gateway that is not alone.
type groups struct {
	mu        sync.Mutex
	told      map[string]toldGroup // those here, by filter, as the others know them
	elsewhere map[bridge.Slot]map[string]*subscription
}

type toldGroup struct {
	bridge.PeerGroup
	of *subscription // like those of its clients, without a session
}

func newGroups() *groups {
	return &groups{told: map[string]toldGroup{}, elsewhere: map[bridge.Slot]map[string]*subscription{}}
}

// joined is a session's membership in one channel, by its filters.
type joined struct {
	broadcasts, sends int // filters that match them
	attachment        *bridge.Attachment
}

// grace holds back, for a time after a start, the will of a client that was connected when
// the gateway ended. The will is discarded if the client comes back, or if its topic is
// written meanwhile: many clients come back with another client id.
type grace struct {
	written atomic.Bool
	unwatch func()
}

// owner ends the session that a hold belongs to.
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

// adopt sets what is called when the sender is deleted; at once if it already is.
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

	coming map[sessionKey]chan struct{} // connections that are attaching; closed when done

	peers bridge.Peers
	lost  func(s *session, by bridge.Claim) // another gateway has a session
	given map[sessionKey]*given             // to other gateways
}

// given is a session that was handed over, until the other gateway surely has it.
type given struct {
	to     bridge.Slot
	at     uint64 // when the client came there, as in a claim
	when   time.Time
	points []bridge.Point
	queue  [][]byte
	weight int64 // of the queue, in the budget
	lastID uint16
	ids    []byte // as in the table of received ids
}

func newSessions(peers bridge.Peers) *sessions {
	return &sessions{
		all: map[sessionKey]*session{}, away: map[*session]struct{}{}, coming: map[sessionKey]chan struct{}{},
		peers: peers, given: map[sessionKey]*given{},
	}
}

// turn waits until no other connection is attaching to a key's session. The caller calls
// next when it is done.
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
