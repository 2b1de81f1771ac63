package callback

import (
	"net"
	"net/netip"
	"time"

	"watchtower/config"
)

// Options are the rules by which callbacks and delivery reports are posted: the settings
// that they take, and what is none.
type Options struct {
	config.Callbacks
	config.Limits

	SigningKey []byte // from which the callbacks' secrets are made; empty: random
	Store      Store  // nil: what waits does not outlive the process

	// DrainTimeout bounds what happens when Serve's context ends: what waits after it is
	// left for the next start, or dropped where nothing outlives the process.
	DrainTimeout time.Duration

	// Listeners gives the gateway's own listeners, which are closed to callbacks. An
	// unspecified address means any of this machine's. Nil: none.
	Listeners func() []netip.AddrPort
	// Resolver resolves names at the join and at the dial; nil: the system's.
	Resolver *net.Resolver
}

const (
	queueBytes = 1 << 20 // of what waits for one callback, besides callbacks.queue
	idleMost   = 100     // connections that are kept open
	resolveFor = 5 * time.Second
	urlBytes   = 2048 // longest callback_url
)

// forAll is how many bytes all senders' callbacks share. The last eighth is set
// aside for callbacks that have nothing waiting, or whose receivers take what comes.
func (o *Options) forAll() int { return o.Bytes - o.Bytes/8 }

// Store keeps what waits for callbacks over a restart. Its methods are
// called by one goroutine at a time.
type Store interface {
	// Load calls each for every row, in the order of the keys.
	Load(each func(key string, value []byte) error) error
	// Commit writes rows, all or none, and returns when they are on disk. A nil
	// value deletes its row.
	Commit(rows map[string][]byte) error
}
