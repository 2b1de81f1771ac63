package callback

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"
)

// Options are the rules by which callbacks and delivery reports are posted. Start from
// DefaultOptions.
type Options struct {
	Queue      int           // messages that wait for one callback of one sender
	Bytes      int           // their bytes
	Timeout    time.Duration // for one attempt, from the dial to the answer
	Retries    int           // attempts after the first; 0: none
	RetryGap   time.Duration // before the first retry; doubles with each
	MaxGap     time.Duration // but not over this
	Kept       int           // deliveries of one callback that were given up and can be replayed; 0: none
	PerSender  int           // URLs of one sender's callbacks
	TotalBytes int           // bytes of all that waits for callbacks, and of what was given up and is kept (shares)

	Concurrency int           // attempts at a time (turns)
	MaxIdle     int           // connections that are kept open
	Resolve     time.Duration // for the resolution of a name at the join
	URLBytes    int           // longest callback_url
	Allow       []string      // hosts, addresses and CIDRs that are open whatever they are
	PublicOnly  bool          // private ranges are closed too
	SigningKey  []byte        // from which the callbacks' secrets are made; empty: random

	DisableAfter    time.Duration // a callback whose attempts all failed for so long is switched off
	RotationOverlap time.Duration // how long a secret still signs that was rotated

	Store     Store         // nil: what waits does not outlive the process
	SaveEvery time.Duration // between two groups of writes to it

	// DrainTimeout bounds what happens when Serve's context ends: what waits after it is
	// left for the next start, or dropped where nothing outlives the process.
	DrainTimeout time.Duration

	// Own gives the gateway's own listeners, which are closed to callbacks. An
	// unspecified address means any of this machine's. Nil: none.
	Own func() []netip.AddrPort
	// Resolver resolves names at the join and at the dial; nil: the system's.
	Resolver *net.Resolver
}

// forAll is how many bytes all senders' callbacks share. The last eighth is set
// aside for callbacks that have nothing waiting, or whose receivers take what comes.
func (o Options) forAll() int { return o.TotalBytes - o.TotalBytes/8 }

// DefaultOptions returns the options of a gateway that was configured with nothing.
func DefaultOptions() Options {
	return Options{
		Queue:      256,
		Bytes:      1 << 20,
		Timeout:    15 * time.Second,
		Retries:    8,
		RetryGap:   time.Second,
		MaxGap:     5 * time.Minute,
		Kept:       100,
		PerSender:  100,
		TotalBytes: 64 << 20,

		Concurrency: 1000,

		MaxIdle:  100,
		Resolve:  5 * time.Second,
		URLBytes: 2048,

		DisableAfter:    5 * 24 * time.Hour,
		RotationOverlap: 24 * time.Hour,
		SaveEvery:       250 * time.Millisecond,
		DrainTimeout:    5 * time.Second,
	}
}

// validate reports every limit that is wrong.
func (o Options) validate() error {
	var faults []error
	for _, limit := range []struct {
		name         string
		value, least int64
	}{
		{"Queue", int64(o.Queue), 1},
		{"Bytes", int64(o.Bytes), 1},
		{"Timeout", int64(o.Timeout), 1},
		{"RetryGap", int64(o.RetryGap), 1},
		{"TotalBytes", int64(o.TotalBytes), 1},
		{"Concurrency", int64(o.Concurrency), 1},
		{"MaxIdle", int64(o.MaxIdle), 1},
		{"MaxGap", int64(o.MaxGap), 1},
		{"PerSender", int64(o.PerSender), 1},
		{"DisableAfter", int64(o.DisableAfter), 1},
		{"SaveEvery", int64(o.SaveEvery), 1},
		{"Resolve", int64(o.Resolve), 1},
		{"URLBytes", int64(o.URLBytes), 1},
		{"DrainTimeout", int64(o.DrainTimeout), 1},
		{"Retries", int64(o.Retries), 0}, {"Kept", int64(o.Kept), 0}, {"RotationOverlap", int64(o.RotationOverlap), 0},
	} {
		if limit.value < limit.least {
			faults = append(faults, fmt.Errorf("callback: %s is %d, it must be at least %d", limit.name, limit.value, limit.least))
		}
	}
	return errors.Join(faults...)
}
