package bridge

import "sync/atomic"

// Reason says why a message, a frame or a request was dropped. All protocols share one
// list, to which a protocol adds the reasons that only it has. Each reason has a metric.
type Reason uint8

// MostReasons is the length of arrays that are indexed by Reason.
const MostReasons = 32

var reasonNames []string

// NewReason makes a reason. Metrics show its name. The rules are those of NewProtocol.
func NewReason(name string) Reason { return Reason(register(&reasonNames, name, MostReasons)) }

// The reasons that protocols share. Each reason, also one that a protocol adds, has a
// test that provokes it in the running program.
var (
	LinkFull     = NewReason("link_full")    // the protocol as a whole was behind
	QueueFull    = NewReason("queue_full")   // the receiver's own queue was full
	TooLarge     = NewReason("too_large")    // the receiver cannot take a message of this size
	Malformed    = NewReason("malformed")    // not a frame or packet of the protocol, or a self-description with a fault
	Refused      = NewReason("refused")      // the sender may not do this, and the protocol has no answer for it
	Away         = NewReason("away")         // the receiver's stream had ended and its membership lingered
	Disconnected = NewReason("disconnected") // the receiver left with messages in its queue
	Failed       = NewReason("failed")       // the receiver did not take or acknowledge it in any attempt
	Expired      = NewReason("expired")      // it waited longer than its message expiry interval
	NotConfirmed = NewReason("unconfirmed")  // too few said the same in time, on a channel that wants more than one
	Forged       = NewReason("forged")       // it is not from whom it names
	Limit        = NewReason("limit")        // a client, its request or its waiting messages exceeded a configured limit
)

// Reasons lists every reason, sorted by name.
func Reasons() []Reason { return registered[Reason](reasonNames, 0) }

// String returns the name.
func (r Reason) String() string { return reasonNames[r] }

// Counters counts messages by protocol and drops by protocol and reason, since
// the start of the program. All methods may be called from any goroutine.
type Counters struct {
	in, out [MostProtocols]atomic.Uint64
	drops   [MostProtocols][MostReasons]atomic.Uint64
	latency [MostProtocols]latency
	second  atomic.Int64 // the hub's time, in Unix seconds

	takeovers atomic.Uint64
	gone      gone
}

// TookOver counts an MQTT connection that was ended by another with its client id.
func (c *Counters) TookOver() { c.takeovers.Add(1) }

// Takeovers returns how many connections TookOver has counted.
func (c *Counters) Takeovers() uint64 { return c.takeovers.Load() }

// In counts n messages taken in: one for each channel and receiver.
func (c *Counters) In(p Protocol, n int) { c.in[p].Add(uint64(n)) }

// Out counts n messages handed to receivers' own queues.
func (c *Counters) Out(p Protocol, n int) { c.out[p].Add(uint64(n)) }

// Drop counts n drops for a reason.
func (c *Counters) Drop(p Protocol, r Reason, n int) {
	if n > 0 {
		c.drops[p][r].Add(uint64(n))
	}
}

// Messages returns how many messages came in and went out by a protocol.
func (c *Counters) Messages(p Protocol) (in, out uint64) {
	return c.in[p].Load(), c.out[p].Load()
}

// Dropped returns how many drops a protocol had for a reason.
func (c *Counters) Dropped(p Protocol, r Reason) uint64 { return c.drops[p][r].Load() }
