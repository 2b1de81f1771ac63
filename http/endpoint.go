package http

import (
	"slices"
	"time"

	"watchtower/bridge"
)

type endpointKey struct {
	sender *bridge.Sender
	url    string
}

// endpoint is what is known of one URL of one sender. Guarded by callbacks.mu,
// but for its key.
type endpoint struct {
	key      endpointKey
	number   uint64 // of all endpoints there have been, over restarts too
	total    *int   // bytes of the deliveries of all endpoints
	attached map[bridge.Channel]*callback
	waiting  []*delivery // in their order
	current  *delivery   // the one that is being posted; nil: none
	bytes    int         // of those
	failed   []*delivery // given up, the newest last; they can be replayed
	kept     int         // bytes of them
	working  bool        // a goroutine posts
	listed   bool        // a callback has it, or had; else it is for delivery reports
	state    endpointState

	lastTaken time.Time // when the receiver last took something

	lastSeq     uint64
	saved       map[uint64]uint64 // deliveries on disk, by number, and with how many changes
	stored      bool              // it is on disk, with storedState
	storedState endpointState
}

// endpointState is what outlives the callback's goroutine, and a restart.
type endpointState struct {
	Secret       uint32    `json:"secret,omitempty"`       // how often it was rotated
	Rotated      time.Time `json:"rotated,omitzero"`       // the last time
	FailingSince time.Time `json:"failing_since,omitzero"` // every attempt since then failed
	Disabled     time.Time `json:"disabled,omitzero"`      // since when; zero: it is not
	Reason       string    `json:"reason,omitempty"`       // why
	LastError    string    `json:"last_error,omitempty"`   // of the last attempt that failed
	LastErrorAt  time.Time `json:"last_error_at,omitzero"` // when that was
}

// delivery is one body on its way. But for the last fields it does not change.
type delivery struct {
	to      *callback
	body    []byte // shared, not to be changed
	hops    uint8  // callbacks the message had been through before
	id      string // the same in every attempt
	channel bridge.Channel
	expires time.Time // zero: never
	said    time.Time // zero: a delivery report, which is not kept

	seq     uint64 // its number in its endpoint
	why     string // it was given up
	changes uint64 // of what stands on disk
}

func (d *delivery) report() bool { return d.said.IsZero() }

func (d *delivery) expired(now time.Time) bool { return !d.expires.IsZero() && !now.Before(d.expires) }

// callback is the member that a callback's attachment is for, or whoever gets
// a delivery report.
type callback struct {
	key     endpointKey
	channel bridge.Channel
	ended   chan struct{} // closed when the attachment has; nil: never
}

func (c *callback) hasEnded() bool {
	select {
	case <-c.ended:
		return true
	default:
		return false
	}
}

// hasRoom reports whether a delivery may wait. What waits and has expired makes
// room first.
func (e *endpoint) hasRoom(d *delivery, opts CallbackOptions) bool {
	return *e.total+len(d.body) <= opts.TotalBytes &&
		(len(e.waiting) == 0 || len(e.waiting) < opts.Queue && e.bytes+len(d.body) <= opts.Bytes)
}

func (e *endpoint) push(d *delivery) {
	e.lastSeq++
	d.seq = e.lastSeq
	e.waiting = append(e.waiting, d)
	e.hold(d, 1)
}

// hold counts the bytes of what waits in, or out.
func (e *endpoint) hold(d *delivery, by int) {
	e.bytes += by * len(d.body)
	*e.total += by * len(d.body)
}

// begin takes the first that waits.
func (e *endpoint) begin() *delivery {
	d := e.waiting[0]
	e.waiting[0] = nil
	e.waiting = e.waiting[1:]
	e.current = d
	return d
}

// discard forgets what waits and f chooses, and returns how much that was.
func (e *endpoint) discard(f func(*delivery) bool) int {
	n := len(e.waiting)
	e.waiting = slices.DeleteFunc(e.waiting, func(d *delivery) bool {
		if !f(d) {
			return false
		}
		e.hold(d, -1)
		return true
	})
	return n - len(e.waiting)
}

// keepFailed keeps a delivery that was given up, to be replayed by hand. The
// oldest make room.
func (e *endpoint) keepFailed(d *delivery, why string, opts CallbackOptions) {
	d.why = why
	d.changes++
	e.restoreFailed(d)
	for len(e.failed) > opts.Kept || len(e.failed) > 0 && (e.kept > opts.Bytes || *e.total > opts.TotalBytes) {
		oldest := e.failed[0]
		e.takeFailed(func(d *delivery) bool { return d == oldest })
	}
}

func (e *endpoint) restoreFailed(d *delivery) {
	e.failed = append(e.failed, d)
	e.kept += len(d.body)
	*e.total += len(d.body)
}

// takeFailed takes out what was given up and f chooses.
func (e *endpoint) takeFailed(f func(*delivery) bool) (taken []*delivery) {
	e.failed = slices.DeleteFunc(e.failed, func(d *delivery) bool {
		if !f(d) {
			return false
		}
		e.kept -= len(d.body)
		*e.total -= len(d.body)
		taken = append(taken, d)
		return true
	})
	return taken
}

// shown reports whether its sender is told of it, and it counts as one of his
// callbacks.
func (e *endpoint) shown() bool {
	return e.listed && (len(e.attached) > 0 || e.disabled() || len(e.failed) > 0)
}

func (e *endpoint) disabled() bool { return !e.state.Disabled.IsZero() }

// status is how the endpoint does, in a word.
func (e *endpoint) status() string {
	switch {
	case e.disabled():
		return "disabled"
	case !e.state.FailingSince.IsZero():
		return "failing"
	}
	return "ok"
}
