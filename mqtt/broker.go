package mqtt

import (
	"context"
	"crypto/tls"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"

	"watchtower/auth"
	"watchtower/bridge"
	"watchtower/bridge/outbound"
	"watchtower/config"
	"watchtower/eventloop"
	"watchtower/intake"
)

// Options of a Broker: its settings, and the objects that it uses.
type Options struct {
	config.MQTT
	config.Limits

	TLS           *tls.Config     // for TLSListen
	Reserved      []string        // client ids that are refused, besides "inline"
	OwnTopics     []string        // topic prefixes to which no client may publish
	Users         map[string]User // by user name; names have no dot
	packetTimeout time.Duration   // to receive one packet; a large one gets more; 0: 30 s
	withoutLoops  bool            // as on systems that have none, for tests

	Intake    *intake.Intake   // bounds unidentified clients and unfinished packets; nil: no bounds
	Gate      *auth.Gate       // counts wrong keys and passwords; nil: they are not counted
	Passwords *auth.Passwords  // nil: a queue of its own
	Store     Store            // nil: nothing outlives the process
	Now       func() time.Time // nil: time.Now
}

const (
	packetTimeout = 30 * time.Second
	inlineClient  = "inline" // as mochi calls its own
)

// announcedMost is the largest Receive Maximum that an MQTT 5 client is told: how many of
// its publishes may be incomplete. An MQTT 3.1.1 client is told no limit, so all its ids
// may be between PUBREC and PUBREL, which takes 11 KiB at most.
const announcedMost = 256

// receiveMax is the Receive Maximum that clients are told: a quarter of a session's queue.
func (o *Options) receiveMax() int { return min(max(o.SessionQueue/4, 1), announcedMost) }

// Broker is the embedded MQTT broker, and so the bus.
type Broker struct {
	hub      *bridge.Hub
	tree     *bridge.Tree
	shares   bool      // with other gateways
	leaves   bool      // they get its sessions when it ends
	groups   *groups   // shared subscriptions, if it does
	underWay *underWay // messages, if it does; else nil
	moved    moved
	opts     Options
	log      *logrus.Logger
	now      func() time.Time
	router   *router
	sessions *sessions
	users    atomic.Pointer[map[string]User]
	retained *retained
	budget   *budget
	records  *spaceRecords // nil: this gateway is alone
	keeper   *keeper       // nil: nothing outlives the process
	noisy    *intake.Throttle
	once     *intake.Throttle
	wills    *wills
	past     atomic.Pointer[func([]bridge.Channel, *bridge.Sender, time.Time) []*bridge.Message] // of FillFrom
	removal  atomic.Pointer[func(topic string, remove func()) error]                             // of OnRemoval
	common   atomic.Pointer[[]string]                                                            // of ShareOwn
	refusal  atomic.Pointer[func(bridge.Refusal)]                                                // of OnRefusal
	door     *intake.Door
	crew     *outbound.Crew

	plain, secure net.Listener
	quiet         atomic.Bool     // it takes no more requests
	life          context.Context // canceled when quiet is set
	endLife       context.CancelFunc
	parting       atomic.Bool    // only sessions get anything more
	ending        chan struct{}  // closed when connections must end
	serving       sync.WaitGroup // connections
	loops         atomic.Pointer[eventloop.Loops]

	mu    sync.Mutex
	conns map[*conn]struct{}
	reads sync.WaitGroup // connections that still take requests
}

// Protocol returns the protocol of the broker's clients.
func (b *Broker) Protocol() bridge.Protocol { return Protocol }

// user returns the configured user of that name.
func (b *Broker) user(name string) (User, bool) {
	u, ok := (*b.users.Load())[name]
	return u, ok
}

// Stats describes the broker for the gateway's info topic and the metrics.
type Stats struct {
	Connections, Sessions, Retained int

	Away  int // sessions whose client is not connected
	Moved Moved
}

// Moved counts sessions that came from other gateways and went to them, since the start.
type Moved struct {
	Came    uint64 // with their clients, or from a gateway that stopped
	Bare    uint64 // of those, without all that waited in them
	Adopted uint64 // of a gateway that was gone
	Given   uint64 // to another gateway
}

// moved is Moved while it is counted.
type moved struct{ came, bare, adopted, given atomic.Uint64 }

// Stats returns the broker's size.
func (b *Broker) Stats() Stats {
	var st Stats
	b.mu.Lock()
	st.Connections = len(b.conns)
	b.mu.Unlock()
	b.sessions.mu.Lock()
	st.Sessions = len(b.sessions.all)
	st.Away = len(b.sessions.away)
	b.sessions.mu.Unlock()
	b.retained.mu.RLock()
	st.Retained = b.retained.n
	b.retained.mu.RUnlock()
	m := &b.moved
	st.Moved = Moved{m.came.Load(), m.bare.Load(), m.adopted.Load(), m.given.Load()}
	return st
}

// Watch calls f with each message whose topic matches a filter, until end is called. From is
// nil if the gateway published it. F runs in the publisher's goroutine: it must return
// quickly and not keep the payload's bytes.
func (b *Broker) Watch(filter string, f func(topic string, payload []byte, from bridge.Client)) (end func()) {
	see := func(m *message, _ bool) { f(m.topic, m.payload, b.clientOf(m.origin)) }
	sub := &subscription{filter: filter, topics: filter, watch: &watcher{see}}
	b.router.add(sub, nil)
	return func() { b.router.remove(sub) }
}

// Retained returns a topic's retained message, or nil.
func (b *Broker) Retained(topic string) []byte {
	b.retained.mu.RLock()
	defer b.retained.mu.RUnlock()
	if m := b.retained.tree.get(topic); m != nil && !m.expired(b.now()) {
		return m.payload
	}
	return nil
}

func (b *Broker) eachConn(f func(*conn)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for c := range b.conns {
		f(c)
	}
}
