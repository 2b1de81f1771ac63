package callback

import (
	"errors"
	"net"
	"net/netip"
	"time"

	"watchtower/bridge"
	"watchtower/config"
	"watchtower/history"
)

// Options of a Service: its settings, and the objects that it uses.
type Options struct {
	config.Callbacks
	config.Limits

	SigningKey []byte // the callbacks' secrets are derived from it; empty: random
	Space      *Space // nil: the gateway is alone
	Store      Store  // nil: deliveries do not outlive the process

	// DrainTimeout bounds the deliveries after Serve's context ends. Those that still wait
	// then stay for the next start, or are dropped without a Store.
	DrainTimeout time.Duration

	// Listeners returns the gateway's own listeners, which callbacks may not reach. An
	// unspecified address stands for all of this machine's. Nil: none.
	Listeners func() []netip.AddrPort
	// Resolver resolves names at a join and at each dial; nil: the system's.
	Resolver *net.Resolver
}

const (
	queueBytes = 1 << 20 // bytes that wait for one callback (callbacks.queue bounds the number)
	idleMost   = 100     // idle connections that are kept open
	resolveFor = 5 * time.Second
	urlBytes   = 2048 // longest callback_url
)

// forAll is how many bytes all senders' callbacks share. The last eighth is reserved for
// callbacks with an empty queue, and for those whose receivers took the last delivery.
func (o *Options) forAll() int { return o.Bytes - o.Bytes/8 }

// Store keeps callbacks' deliveries over a restart. One goroutine at a time calls it.
type Store interface {
	// Load calls each for every row, in the order of the keys.
	Load(each func(key string, value []byte) error) error
	// Commit writes rows, all or none, and returns when they are on disk. A nil
	// value deletes its row.
	Commit(rows map[string][]byte) error
}

// Space is what callbacks need of the gateways of a space.
type Space struct {
	Slot   bridge.Slot
	Leases bridge.Leases
	// Documents returns the callbacks' documents, whose owner is given.
	Documents func(bridge.DocumentOwner) bridge.Documents
	// Changes has on the disk what the space does not have yet. Nil: it is in memory only.
	Changes Kept
}

// Kept is a text on this gateway's disk.
type Kept interface {
	Load() ([]byte, error)
	Save([]byte) error
}

// membership is a callback on a channel, and where its messages begin.
type membership struct {
	NoEcho bool  `json:"no_echo,omitempty"`
	Joined int64 `json:"joined"`        // tells one join from the next
	Gap    bool  `json:"gap,omitempty"` // it has missed messages that are not kept
	history.Place
}

// stamp is a time.
type stamp = time.Time

// errElsewhere ends an attempt: another gateway may post to this callback now.
var errElsewhere = errors.New("another gateway may have the lease")
