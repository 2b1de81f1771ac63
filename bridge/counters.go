package bridge

import "sync/atomic"

// Reason says why a message, a frame or a request was dropped. There is one
// list for all protocols; a metric exists for each.
type Reason uint8

// The reasons. Each has a test that provokes it through the running program.
const (
	LinkFull     Reason = iota // the protocol as a whole was behind
	QueueFull                  // the receiver's own queue was full
	TooLarge                   // the receiver cannot take a message of this size
	Malformed                  // not a frame or packet of the protocol, or a self-description with a fault
	Refused                    // the sender may not do this, and the protocol has no answer for it
	Away                       // the receiver's stream had ended and its membership lingered
	Disconnected               // the receiver left with messages in its queue
	Failed                     // a callback did not take it, or a device or an MQTT client not acknowledge it, in all its attempts
	Expired                    // it waited longer than its message expiry interval
	Unsendable                 // the operating system refused to send it
	Forgotten                  // an unconfirmed registration made room for a newer one
	Limit                      // a client, what it asked for, or what waited for a callback, over a limit of the configuration
	Forged                     // a session frame whose tag is wrong
	Duplicate                  // a session frame whose number was taken already, or is too old
	Elsewhere                  // a session frame from an address that is not its session's
	Unknown                    // a k for a session that there is not, or a frame that came as its session ended
	Truncated                  // a delivery that reached its device cut short
	numReasons
)

// Reasons lists every reason, for those who render tables of them.
var Reasons = func() (all [numReasons]Reason) {
	for i := range all {
		all[i] = Reason(i)
	}
	return
}()

func (r Reason) String() string {
	return [...]string{
		"link_full", "queue_full", "too_large", "malformed", "refused", "away",
		"disconnected", "failed", "expired", "unsendable", "forgotten", "limit",
		"forged", "duplicate", "elsewhere", "unknown", "truncated",
	}[r]
}

// Counters counts messages by protocol and drops by protocol and reason, since
// the start of the program. All methods may be called from any goroutine.
type Counters struct {
	in, out [MostProtocols]atomic.Uint64
	drops   [MostProtocols][numReasons]atomic.Uint64
	latency [MostProtocols]latency

	takeovers atomic.Uint64
}

// TookOver counts an MQTT connection that was ended by another with its client id.
func (c *Counters) TookOver() { c.takeovers.Add(1) }

// Takeovers returns how many those were.
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
