package bridge

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"hash/maphash"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"

	"watchtower/config"
	"watchtower/ticker"
)

// Bus carries messages. It hands each published message back to Hub.Deliver. An embedded
// bus does so before Publish returns.
type Bus interface {
	// Protocol is the protocol of the bus's clients.
	Protocol() Protocol
	// Publish puts a message on the channels' topics. An error means that
	// some protocol did not take it.
	Publish(*Message) error
	// PublishRetained publishes a retained message of the gateway's own; an
	// empty payload removes it.
	PublishRetained(topic string, payload []byte) error
	// PublishOwn publishes a message of the gateway's own that is not retained.
	// It waits for nobody.
	PublishOwn(topic string, payload []byte) error
}

// Client is a client of the bus, as long as one connection lasts.
type Client interface {
	Sender() *Sender
	// Connected reports whether that connection is still there.
	Connected() bool
	// Publish delivers a message of the gateway's own to this client alone, if it subscribes
	// to the topic. Nothing is retained.
	Publish(topic string, payload []byte)
	// Repeat delivers a topic's retained message to this client alone, if it subscribes to the
	// topic and there is one.
	Repeat(topic string)
}

// Refusal is a client's publish that the bus refused.
type Refusal struct {
	Topic string // as the client gave it, or its beginning
	Why   error
	From  Client
	Told  bool // the client was sent the reason
}

// Options are the rules by which a Hub works.
type Options struct {
	config.Limits  // Senders and SenderChannels may be 0: any number
	config.Senders // how long they are remembered
	config.Auth

	SecretKey  string        // whoever shows it may register; empty: the gateway is open
	Generation uint64        // of the secret key: how often it was changed
	OwnKeys    bool          // names may have keys of their own, and are then refused to the secret key
	OwnNames   []string      // names of the gateway's own senders, which nobody else can register
	Users      []string      // the configured users: names that begin with a user's name and a dot are that user's
	IDKey      []byte        // makes the ids of names; empty: random
	Space      string        // of gateways that share their channels; empty: the gateway is alone
	Slot       Slot          // among gateways that share their channels; 0: the gateway is alone
	PassKey    []byte        // makes the MACs of passes; empty: random
	Linger     time.Duration // how long a membership outlives its stream
	ListedFor  time.Duration // how long a channel without members is listed after its last message
	Tree       *Tree
	Store      Store // nil: nothing is remembered
	Log        *logrus.Logger
	Now        func() time.Time // nil: time.Now

	// KeepHalfConfirmed keeps on disk on which channels something is half confirmed, so that a
	// start after a crash can tell of it. Run calls it. Nil: nothing is kept.
	KeepHalfConfirmed func([]Channel)
}

// Hub knows every sender and channel, and executes the verbs. Its methods may
// be called from any goroutine.
type Hub struct {
	opts     Options
	bus      Bus
	links    [MostProtocols]*Link // by protocol
	served   []*Link              // those links, each once
	eager    []*Link              // those of them that take everything
	crowded  atomic.Int32         // those of them whose queue is more than half full, or was
	taps     []*Link
	onChange []func([]Channel) // called after members have changed
	patience time.Duration     // the longest of the links'
	counters Counters
	ids      *idSource
	now      func() time.Time
	begun    time.Time
	tree     *Tree
	confirms confirms

	backplane Backplane // nil: the gateway is alone
	claims    claims
	outside   outside
	answer    func(question []byte) []byte // of other gateways' buses; nil: nothing does

	mu       sync.RWMutex // guards all below, and what senders and channels hold
	senders  map[SenderID]*Sender
	kept     []*Sender // those that are remembered
	users    map[string]struct{}
	names    map[string]*Sender
	tokens   map[[sha256.Size]byte]*Sender
	channels map[Channel]*channel
	restored []restoredMembership
	ghosts   map[*Attachment]struct{} // of memberships that linger
	dirty    map[Channel]struct{}     // channels whose members topic has to be written
	wake     chan struct{}            // there is something in dirty
	departed chan struct{}            // a sender with a name was forgotten

	proofs        map[Proof]int      // devices that are held, by what let them in
	registrations uint64             // so far
	gone          []Gone             // the last to go, at most goneMost
	rivalsTold    time.Time          // when the log last had a name that two devices seem to have
	attached      [MostProtocols]int // attachments on all channels
	peers         map[Slot]*peer     // other gateways; nil: the gateway is alone
	abroad        map[Channel]int    // memberships there
	orphans       []string           // members topics of gateways that are gone
	seed          maphash.Seed       // of the hashes of members topics

	order atomic.Uint64 // of the newest message
}

// New returns a hub with the senders that the store remembers. Nothing may be
// published before SetBus.
func New(opts Options) (*Hub, error) {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if len(opts.IDKey) == 0 {
		opts.IDKey = make([]byte, sha256.Size)
		_, _ = rand.Read(opts.IDKey) // never fails: it ends the program instead
	}
	if len(opts.PassKey) == 0 {
		opts.PassKey = make([]byte, sha256.Size)
		_, _ = rand.Read(opts.PassKey)
	}
	h := &Hub{
		opts:     opts,
		ids:      newIDSource(),
		now:      opts.Now,
		begun:    opts.Now(),
		tree:     opts.Tree,
		senders:  map[SenderID]*Sender{},
		users:    userSet(opts.Users),
		names:    map[string]*Sender{},
		tokens:   map[[sha256.Size]byte]*Sender{},
		channels: map[Channel]*channel{},
		ghosts:   map[*Attachment]struct{}{},
		proofs:   map[Proof]int{},
		seed:     maphash.MakeSeed(),
		dirty:    map[Channel]struct{}{},
		wake:     make(chan struct{}, 1),
		departed: make(chan struct{}, 1),
	}
	h.confirms.changed = make(chan struct{}, 1)
	h.counters.second.Store(h.begun.Unix())
	if opts.Store != nil {
		records, err := opts.Store.Load()
		if err != nil {
			return nil, err
		}
		h.expect(records)
		for _, r := range records {
			h.restore(r)
		}
	}
	return h, nil
}

// SetBus gives the hub its bus, once, before anything is published.
func (h *Hub) SetBus(b Bus) { h.bus = b }

// LinkQueue is the size of a protocol's link queue in messages. LinkPatience is how long
// a publisher that may wait does so while that queue is full.
const (
	LinkQueue    = 4096
	LinkPatience = 5 * time.Second
)

// AddLink adds the link that reaches a protocol's members. It is called once, before the
// first member. Size is the link's queue in messages. Patience is how long a publisher
// that may wait does so while queues are full; one call waits no longer for all of them.
func (h *Hub) AddLink(p Protocol, size int, patience time.Duration) *Link {
	l := NewLink(p, &h.counters, size, patience)
	l.hub, l.serves = h, 1<<p
	h.links[p] = l
	h.served = append(h.served, l)
	h.patience = max(h.patience, patience)
	return l
}

// Share makes a link serve one more protocol. It is called once, before that protocol's
// first member. The link gets each message once for all its protocols; Receivers returns
// the members of each.
func (h *Hub) Share(l *Link, p Protocol) {
	l.shared = append(l.shared, p)
	l.serves |= 1 << p
	h.links[p] = l
}

// Links returns the links by protocol; nil where a protocol has none.
func (d Directory) Links() map[Protocol]*Link {
	h := d.hub
	links := map[Protocol]*Link{}
	for _, p := range Protocols() {
		if h.links[p] != nil {
			links[p] = h.links[p]
		}
	}
	return links
}

// Counters returns the counters of all protocols.
func (h *Hub) Counters() *Counters { return &h.counters }

// Now is the time by the hub's clock.
func (h *Hub) Now() time.Time { return h.now() }

// Tree returns the names of the topics.
func (h *Hub) Tree() *Tree { return h.tree }

// MessageBytes is the largest size of a message's content, in bytes.
func (h *Hub) MessageBytes() int { return h.opts.MessageBytes }

// Open reports whether the gateway has no secret key.
func (h *Hub) Open() bool { return h.opts.SecretKey == "" }

// CheckKey reports whether key is the secret key. An open gateway takes any.
func (h *Hub) CheckKey(key string) bool { return SameKey(h.opts.SecretKey, key) }

// SameKey reports whether the shown key is the wanted one, in constant time. If no key is
// wanted, every key is right.
func SameKey(want, got string) bool {
	if want == "" {
		return true
	}
	w, g := sha256.Sum256([]byte(want)), sha256.Sum256([]byte(got))
	return subtle.ConstantTimeCompare(w[:], g[:]) == 1
}

// Drain waits until no link and no other gateway has anything queued, or ctx ends.
func (h *Hub) Drain(ctx context.Context) {
	t := time.NewTicker(5 * time.Millisecond)
	defer t.Stop()
	all := slices.Concat(h.served, h.taps)
	for {
		if !slices.ContainsFunc(all, func(l *Link) bool { return !l.Idle() }) && (h.backplane == nil || h.backplane.Idle()) {
			return
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
	}
}

// membersEvery is the least time between two updates of a members topic. Lingering
// memberships are checked every lingerEvery.
const (
	membersEvery = time.Second
	lingerEvery  = time.Second
)

// Run writes the members topics, ends lingering memberships and forgets senders
// that have not been seen for too long, until ctx ends.
func (h *Hub) Run(ctx context.Context) {
	sweepEvery := min(time.Hour, max(time.Second, min(h.opts.ExpireAfter, h.opts.ExpireUnnamedAfter)/4))
	sweep := ticker.New(sweepEvery)
	defer sweep.Stop()
	tick := ticker.New(lingerEvery)
	defer tick.Stop()
	again := time.NewTimer(0) // when the members topics may be written again
	defer again.Stop()
	wake := h.wake
	for {
		select {
		case <-ctx.Done():
			h.saveSeen()
			h.keepHalfConfirmed()
			return
		case <-h.confirms.changed:
			h.keepHalfConfirmed()
		case <-wake:
			h.publishMembers()
			wake = nil
			again.Reset(membersEvery)
		case <-again.C:
			wake = h.wake
		case <-tick.C:
			tick.Next()
			h.counters.second.Store(h.now().Unix())
			h.endLingering()
			h.expireHalfConfirmed()
		case <-sweep.C:
			sweep.Next()
			h.sweep(ctx)
		}
	}
}
