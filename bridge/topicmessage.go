package bridge

import "time"

// TopicMessage is a message on a topic of the bus's clients' own, which is on no channel, as
// gateways that share their channels tell each other.
type TopicMessage struct {
	Topic   string
	Payload []byte
	QoS     byte // with which it was published
	Retain  bool
	Expires time.Time        // zero: never
	More    *TopicProperties // nil: none
	Mapped  bool             // a gateway published it by a channel's map, so no map takes it in
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

// TopicBus is a Bus whose clients have topics of their own, which other gateways share.
type TopicBus interface {
	Bus
	// InjectTopic publishes what another gateway's client said. It is not sent on.
	InjectTopic(*TopicMessage)
}

// SayTopic gives a message on a client's own topic to the other gateways. It waits for nothing.
func (p Peers) SayTopic(m *TopicMessage) { p.hub.backplane.SayTopic(m) }

// Await waits, for as long as a publisher may, while other gateways cannot keep up.
func (p Peers) Await() { p.hub.backplane.Await(time.Now().Add(p.hub.patience)) }

// HasRoom reports whether Await would not wait now.
func (p Peers) HasRoom() bool { return p.hub.backplane.HasRoom() }

// Alone reports whether there is no way to other gateways.
func (p Peers) Alone() bool { return p.hub.backplane == nil }

// InjectTopic delivers a message of another gateway's client to the clients here.
func (p Peers) InjectTopic(m *TopicMessage) {
	if bus, ok := p.hub.bus.(TopicBus); ok {
		bus.InjectTopic(m)
	}
}
