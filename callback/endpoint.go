package callback

import (
	"context"
	"slices"
	"time"

	"github.com/oklog/ulid/v2"

	"watchtower/bridge"
)

type endpointKey struct {
	sender  *bridge.Sender
	url     string
	reports bool // it is for delivery reports alone, which this gateway posts whoever posts the messages
}

// endpoint is the state of one URL of one sender. Service.mu guards all fields except key.
type endpoint struct {
	key         endpointKey
	number      uint64 // unique among all endpoints, over restarts too
	share       *share // its sender's
	byBytes     int    // its place there
	attached    map[bridge.Channel]*receiver
	waiting     []*delivery // in order
	current     *delivery   // the one that is being delivered; nil: none
	bytes       int         // of waiting and current
	failed      []*delivery // given up, the newest last; they can be replayed
	failedBytes int         // of failed
	listed      bool        // a callback has or had it; else it is for delivery reports
	state       endpointState

	name      string        // its key for others
	shard     int           // of those by which gateways share out callbacks
	elsewhere bool          // another gateway posts
	shared    endpointState // what the space has of state
	replay    int64         // the last request of another gateway to replay

	phase   phase
	tries   int           // failed attempts of current
	wasCut  bool          // an attempt of current was cut short; it does not count in tries
	gap     time.Duration // before the next try, if this one fails
	lined   uint64        // its number in the line for a turn
	attempt *attempt      // the last one
	retry   *time.Timer   // while it is pausing

	lastTaken time.Time // when the receiver last took a delivery

	lastSeq     uint64
	saved       map[uint64]uint64 // deliveries on disk: number to changes
	stored      bool              // it is on disk, with storedState
	storedState endpointState
}

// phase is the state of an endpoint's current delivery.
type phase int

const (
	idle    phase = iota // no current delivery
	lined                // it waits for its turn
	posting              // an attempt is in progress
	pausing              // it waits for the next attempt
)

// endpointState is the part that is kept on disk.
type endpointState struct {
	Secret       uint32    `json:"secret,omitempty"`       // how often it was rotated
	Rotated      time.Time `json:"rotated,omitzero"`       // last rotation
	Earlier      earlier   `json:"earlier,omitzero"`       // rotations before that
	Known        bool      `json:"known,omitempty"`        // it was joined once, and its secret shown
	FailingSince time.Time `json:"failing_since,omitzero"` // all attempts since then failed
	Disabled     time.Time `json:"disabled,omitzero"`      // since when; zero: it is not
	Reason       string    `json:"reason,omitempty"`       // why it is disabled
	Off          time.Time `json:"off,omitzero"`           // an operator switched it off; zero: it is on
	LastError    string    `json:"last_error,omitempty"`   // of the last failed attempt
	LastErrorAt  time.Time `json:"last_error_at,omitzero"`
}

// delivery is one body for one receiver. Its fields from before on change.
type delivery struct {
	to      *receiver
	body    []byte // shared: must not change
	hops    uint8  // callbacks that the message has been through
	id      string // the same in every attempt
	channel bridge.Channel
	expires time.Time // zero: never
	said    time.Time // time of the message; zero: a delivery report, which is not kept

	slot   bridge.Slot // of the gateway that took the message
	mid    ulid.ULID   // the message's id; zero: it does not count for where the callback is
	before ulid.ULID   // of that gateway's last message before; zero: none is known

	seq     uint64 // its number in its endpoint
	why     string // why it was given up
	changes uint64 // counts changes of its row
}

// deliveryBytes is the memory of a delivery without its body.
const deliveryBytes = 256

func (d *delivery) size() int                  { return deliveryBytes + len(d.body) }
func (d *delivery) report() bool               { return d.said.IsZero() }
func (d *delivery) expired(now time.Time) bool { return !d.expires.IsZero() && !now.Before(d.expires) }

// receiver is the member of a callback's attachment, or the receiver of a delivery report.
type receiver struct {
	key     endpointKey
	channel bridge.Channel
	noEcho  bool
	ended   chan struct{} // closed when the attachment ends; nil: never

	quiet bool                      // it ends because another gateway has ended it
	place membership                // where its messages begin, or where they were when that was left last
	last  map[bridge.Slot]ulid.ULID // the last message of each gateway that it was given
}

func (c *receiver) hasEnded() bool {
	select {
	case <-c.ended:
		return true
	default:
		return false
	}
}

// hasRoom reports whether its own queue has room for a delivery.
func (e *endpoint) hasRoom(d *delivery, opts *Options) bool {
	return len(e.waiting) == 0 || len(e.waiting) < opts.Queue && e.bytes+d.size() <= queueBytes
}

// held is how many bytes it holds: waiting, current and failed.
func (e *endpoint) held() int { return e.bytes + e.failedBytes }

func (e *endpoint) push(d *delivery) {
	e.lastSeq++
	d.seq = e.lastSeq
	e.waiting = append(e.waiting, d)
	e.hold(d, 1)
}

// hold adds the bytes of a delivery (by 1), or subtracts them (by -1).
func (e *endpoint) hold(d *delivery, by int) {
	e.bytes += by * d.size()
	e.share.hold(e, by*d.size())
}

// discard removes the waiting deliveries that f selects, and returns their number.
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

// keepFailed keeps a delivery that was given up, for a replay. The oldest ones make room.
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

// takeFailed removes and returns the failed deliveries that f selects.
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

// shown reports whether it is listed to its sender and counts as one of its callbacks.
func (e *endpoint) shown() bool {
	return e.listed && (len(e.attached) > 0 || e.disabled() || len(e.failed) > 0)
}

// pending lists what waits, and what is being delivered.
func (e *endpoint) pending() []*delivery {
	if e.current == nil {
		return e.waiting
	}
	return append([]*delivery{e.current}, e.waiting...)
}

// rests reports whether nothing is posted here for now.
func (e *endpoint) rests() bool { return e.off() || e.elsewhere }

func (e *endpoint) disabled() bool { return !e.state.Disabled.IsZero() }
func (e *endpoint) off() bool      { return !e.state.Off.IsZero() }

// status is the state that View shows.
func (e *endpoint) status() string {
	switch {
	case e.disabled():
		return "disabled"
	case e.off():
		return "off"
	case !e.state.FailingSince.IsZero():
		return "failing"
	}
	return "ok"
}

// urgency orders the endpoints of one sender, and senders with as many attempts.
type urgency int

const (
	proven urgency = iota // a new delivery to a receiver that took the last one
	first                 // a new delivery to any other receiver
	again                 // a delivery that was tried
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

// takes reports whether its receiver took the last delivery, and takes the next.
func (e *endpoint) takes() bool {
	return !e.lastTaken.IsZero() && e.state.FailingSince.IsZero() && !e.off()
}

// attempt is one POST in progress.
type attempt struct {
	e       *endpoint
	d       *delivery
	secrets [][]byte
	lease   bridge.Lease // nil: it needs none
	began   time.Time
	ctx     context.Context
	cancel  context.CancelFunc
	cut     bool // it was cut short to make room
}

// cutShort cancels an attempt.
func (a *attempt) cutShort() {
	if !a.cut {
		a.cut = true
		a.e.share.cut++
		a.cancel()
	}
}

// mostEarlier is how many secrets sign besides the current and the previous one.
const mostEarlier = 8

// earlier are the Unix times of the rotations before the last, the newest first; 0: none.
// It is an array, so that states can be compared.
type earlier [mostEarlier]int64

// rotate makes a new secret the current one. It reports false if too many would sign.
func (s *endpointState) rotate(now time.Time, overlap time.Duration) bool {
	if oldest := s.Earlier[mostEarlier-1]; oldest != 0 && now.Sub(time.Unix(oldest, 0)) < overlap {
		return false
	}
	copy(s.Earlier[1:], s.Earlier[:])
	s.Earlier[0] = 0
	if !s.Rotated.IsZero() {
		s.Earlier[0] = s.Rotated.Unix() + 1 // rounded up, so that no secret ends too early
	}
	s.Secret++
	s.Rotated = now.Round(0)
	return true
}
