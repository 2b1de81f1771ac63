package callback

import (
	"context"
	"slices"
	"time"

	"watchtower/bridge"
)

type endpointKey struct {
	sender *bridge.Sender
	url    string
}

// endpoint is what is known of one URL of one sender. Guarded by Service.mu,
// but for its key.
type endpoint struct {
	key         endpointKey
	number      uint64 // of all endpoints there have been, over restarts too
	share       *share // its sender's
	byBytes     int    // its place there
	attached    map[bridge.Channel]*receiver
	waiting     []*delivery // in their order
	current     *delivery   // the one that is being delivered; nil: none
	bytes       int         // of those
	failed      []*delivery // given up, the newest last; they can be replayed
	failedBytes int         // of those
	listed      bool        // a callback has it, or had; else it is for delivery reports
	state       endpointState

	phase   phase
	tries   int           // of current, that counted
	wasCut  bool          // one of those that did not
	gap     time.Duration // before the next try, if this one fails
	lined   uint64        // its number among those that wait for a turn
	attempt *attempt      // the last one
	retry   *time.Timer   // while it is pausing

	lastTaken time.Time // when the receiver last took something

	lastSeq     uint64
	saved       map[uint64]uint64 // deliveries on disk, by number, and with how many changes
	stored      bool              // it is on disk, with storedState
	storedState endpointState
}

// phase is what an endpoint does about its current delivery.
type phase int

const (
	idle    phase = iota // there is none
	lined                // it waits for its turn
	posting              // an attempt is in progress
	pausing              // it waits before the next one
)

// endpointState is what outlives the callback's goroutine, and a restart.
type endpointState struct {
	Secret       uint32    `json:"secret,omitempty"`       // how often it was rotated
	Rotated      time.Time `json:"rotated,omitzero"`       // the last time
	Earlier      earlier   `json:"earlier,omitzero"`       // the times before that
	Known        bool      `json:"known,omitempty"`        // it was joined once, and its secret shown
	FailingSince time.Time `json:"failing_since,omitzero"` // every attempt since then failed
	Disabled     time.Time `json:"disabled,omitzero"`      // since when; zero: it is not
	Reason       string    `json:"reason,omitempty"`       // why
	LastError    string    `json:"last_error,omitempty"`   // of the last attempt that failed
	LastErrorAt  time.Time `json:"last_error_at,omitzero"` // when that was
}

// delivery is one body on its way. But for the last fields it does not change.
type delivery struct {
	to      *receiver
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

// deliveryBytes is what a delivery takes besides its body.
const deliveryBytes = 256

func (d *delivery) size() int { return deliveryBytes + len(d.body) }

func (d *delivery) report() bool { return d.said.IsZero() }

func (d *delivery) expired(now time.Time) bool { return !d.expires.IsZero() && !now.Before(d.expires) }

// receiver is the member that a callback's attachment is for, or whoever gets a
// delivery report.
type receiver struct {
	key     endpointKey
	channel bridge.Channel
	ended   chan struct{} // closed when the attachment has; nil: never
}

func (c *receiver) hasEnded() bool {
	select {
	case <-c.ended:
		return true
	default:
		return false
	}
}

// hasRoom reports whether its own queue takes a delivery more.
func (e *endpoint) hasRoom(d *delivery, opts *Options) bool {
	return len(e.waiting) == 0 || len(e.waiting) < opts.Queue && e.bytes+d.size() <= queueBytes
}

// held is how many bytes it holds, waiting and kept.
func (e *endpoint) held() int { return e.bytes + e.failedBytes }

func (e *endpoint) push(d *delivery) {
	e.lastSeq++
	d.seq = e.lastSeq
	e.waiting = append(e.waiting, d)
	e.hold(d, 1)
}

// hold counts the bytes of what waits in, or out.
func (e *endpoint) hold(d *delivery, by int) {
	e.bytes += by * d.size()
	e.share.hold(e, by*d.size())
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
func (e *endpoint) keepFailed(d *delivery, why string, opts *Options) {
	d.why = why
	d.changes++
	e.restoreFailed(d)
	for len(e.failed) > opts.Kept || len(e.failed) > 0 && (e.failedBytes > queueBytes || e.share.pool.bytes > opts.forAll()) {
		e.takeOldestFailed()
	}
}

func (e *endpoint) restoreFailed(d *delivery) {
	e.failed = append(e.failed, d)
	e.failedBytes += d.size()
	e.share.hold(e, d.size())
}

func (e *endpoint) takeOldestFailed() {
	oldest := e.failed[0]
	e.takeFailed(func(d *delivery) bool { return d == oldest })
}

// takeFailed takes out what was given up and f chooses.
func (e *endpoint) takeFailed(f func(*delivery) bool) (taken []*delivery) {
	e.failed = slices.DeleteFunc(e.failed, func(d *delivery) bool {
		if !f(d) {
			return false
		}
		e.failedBytes -= d.size()
		e.share.hold(e, -d.size())
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

// urgency is how soon an endpoint's turn comes, among equals.
type urgency int

const (
	proven urgency = iota // something new, to a receiver that took the last
	first                 // something new, to one of which nothing is known, or nothing good
	again                 // something that was tried
	numUrgencies
)

func (e *endpoint) urgency() urgency {
	switch {
	case e.tries > 0 || e.wasCut:
		return again
	case e.takes():
		return proven
	}
	return first
}

// takes reports whether its receiver took the last that it was given.
func (e *endpoint) takes() bool { return !e.lastTaken.IsZero() && e.state.FailingSince.IsZero() }

// attempt is one POST in progress.
type attempt struct {
	e       *endpoint
	d       *delivery
	secrets [][]byte
	began   time.Time
	ctx     context.Context
	cancel  context.CancelFunc
	cut     bool // it was told to end, to make room
}

// cutShort tells an attempt to end.
func (a *attempt) cutShort() {
	if !a.cut {
		a.cut = true
		a.e.share.cut++
		a.cancel()
	}
}

// mostEarlier is how many secrets sign besides the one in force and the last.
const mostEarlier = 8

// earlier are the Unix times of the rotations before the last, the newest first; 0:
// there was none. An array, so that states can be compared.
type earlier [mostEarlier]int64

// rotate takes a new secret into force. It reports false if too many would sign.
func (s *endpointState) rotate(now time.Time, overlap time.Duration) bool {
	if oldest := s.Earlier[mostEarlier-1]; oldest != 0 && now.Sub(time.Unix(oldest, 0)) < overlap {
		return false
	}
	copy(s.Earlier[1:], s.Earlier[:])
	s.Earlier[0] = 0
	if !s.Rotated.IsZero() {
		s.Earlier[0] = s.Rotated.Unix() + 1 // never too early
	}
	s.Secret++
	s.Rotated = now.Round(0)
	return true
}
