package bridge

import (
	"time"

	"watchtower/bridge/outbound"
)

// TopicMessage is a message on a topic of the bus's clients' own, which is on no channel, as
// gateways that share their channels tell each other.
type TopicMessage struct {
	Topic   string
	Payload []byte
	QoS     byte // with which it was published
	Retain  bool
	Own     bool             // the gateway said it, for all gateways
	Stamp   Stamp            // of a retained message, else 0
	Expires time.Time        // zero: never
	More    *TopicProperties // nil: none
	Mapped  bool             // a gateway published it by a channel's map, so no map takes it in
	Groups  []GroupPick      // who hands it to clients of shared subscriptions
	Serial  Serial           // of another gateway, or what SayTopic gave it
	Late    bool             // it was missed: many may come at once, so whoever publishes it waits for receivers that read
}

// TopicProperties are what MQTT 5 gives a message besides.
type TopicProperties struct {
	FormatGiven                bool
	Format                     byte // payload format indicator
	ContentType, ResponseTopic string
	Correlation                []byte
	User                       [][2]string // keys and values, in order
}

// Stamp orders the retained messages of a topic among all gateways: the largest is the newest. It
// has the time in Unix ms (44 bits), a counter (12) and the slot of the gateway that gave it (8).
// A gateway's stamps are larger than those that it has seen, so it matters little if clocks
// differ.
type Stamp uint64

const (
	stampSlots  = 1 << 8
	stampTimes  = 1 << 20
	stampAhead  = 24 * time.Hour // of our clock, at most
	oldestStamp = Stamp(stampTimes)
)

// Slot is that of the gateway that gave the stamp.
func (s Stamp) Slot() Slot { return Slot(s) }

// Time is about when it was given.
func (s Stamp) Time() time.Time { return time.UnixMilli(int64(s / stampTimes)) }

// StampClock gives stamps.
type StampClock struct {
	slot Slot
	last Stamp
}

// NewStampClock returns the clock of the gateway of a slot.
func NewStampClock(slot Slot) StampClock { return StampClock{slot: slot} }

// Next gives a stamp that is larger than all that were given and seen.
func (c *StampClock) Next(now time.Time) Stamp {
	next := (c.last/stampSlots + 1) * stampSlots
	if at := Stamp(max(now.UnixMilli(), 1)) * stampTimes; at > next {
		next = at
	}
	c.last = next | Stamp(c.slot)
	return c.last
}

// Slot is that of the gateway.
func (c *StampClock) Slot() Slot { return c.slot }

// Oldest is the stamp of what was retained before the gateway shared it: any other is newer.
func (c *StampClock) Oldest() Stamp { return oldestStamp | Stamp(c.slot) }

// Saw takes another's stamp. It reports false if that is more than a day in the future, and so
// not to be believed.
func (c *StampClock) Saw(s Stamp, now time.Time) bool {
	if s.Time().Sub(now) > stampAhead {
		return false
	}
	c.last = max(c.last, s)
	return true
}

// TopicBus is a Bus whose clients have topics of their own, which other gateways share.
type TopicBus interface {
	Bus
	// InjectTopic publishes what another gateway's client said. It is not sent on.
	InjectTopic(*TopicMessage)
}

// RemovedFor is how long a space remembers that a retained message was removed.
const RemovedFor = 30 * 24 * time.Hour

// RetainedKeeper keeps retained messages, which other gateways share. A message without a payload
// is a deletion.
type RetainedKeeper interface {
	// BeginRetained says that all that the space has is going to be told.
	BeginRetained(space string)
	// LearnRetained takes what the space has of a topic. It may be old.
	LearnRetained(*TopicMessage)
	// RetainedInStep says, again and again, that all that the space has was told.
	RetainedInStep()
	// UnwrittenRetained returns what the space does not have. It returns that again after a
	// while, until LearnRetained has it.
	UnwrittenRetained(most int) []*TopicMessage
}

// SayTopic gives a message on a client's own topic to the other gateways. It waits for nothing. R
// writes it soon; nil: it is written soon.
func (p Peers) SayTopic(m *TopicMessage, r *outbound.Round) { p.hub.backplane.SayTopic(m, r) }

// Await waits, for as long as a publisher may, while other gateways cannot keep up.
func (p Peers) Await() { p.hub.backplane.Await(time.Now().Add(p.hub.patience)) }

// HasRoom reports whether Await would not wait now.
func (p Peers) HasRoom() bool { return p.hub.backplane.HasRoom() }

// Slot is this gateway's.
func (p Peers) Slot() Slot { return p.hub.opts.Slot }

// Alone reports whether there is no way to other gateways.
func (p Peers) Alone() bool { return p.hub.backplane == nil }

// InjectTopic delivers a message of another gateway's client to the clients here.
func (p Peers) InjectTopic(m *TopicMessage) {
	if bus, ok := p.hub.bus.(TopicBus); ok {
		bus.InjectTopic(m)
	}
}
