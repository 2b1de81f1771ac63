package mqtt

import (
	"bytes"
	"unicode/utf8"
	"unsafe"

	"watchtower/bridge"
)

// place is a topic to which a client publishes: what it means, and who gets it. It is valid
// for one access list.
type place struct {
	topic     string
	said      string // the topic that receivers see: with the sender, if it is on a channel
	onChannel bool
	address   bridge.Address
	access    *access
	route     *route // nil: not looked up yet
}

// place returns what a topic means; nil if it is not simply allowed. It is valid until the
// next call: a client has one place, that of the topic to which it published last.
func (c *conn) place(topic []byte) *place {
	may := c.session.access.Load()
	if p := c.last; p != nil && p.access == may && p.topic == string(topic) {
		return p
	}
	if !utf8.Valid(topic) || bytes.IndexByte(topic, 0) >= 0 {
		return nil
	}
	name := unsafe.String(unsafe.SliceData(topic), len(topic)) // is kept nowhere: the bytes will change
	sender := c.session.sender()
	onChannel, a, err := c.broker.mayPublish(name, sender, may)
	if err != nil || a.ReceiverName != "" || a.Sender != 0 && a.Sender != sender.ID() { // a name may become another's
		return nil
	}
	if c.last == nil {
		c.last = new(place)
	}
	*c.last = place{onChannel: onChannel, address: a, access: may}
	c.broker.findPlace(c.last, topic, sender.ID())
	return c.last
}

// findPlace fills in the texts and the route.
func (b *Broker) findPlace(p *place, topic []byte, sender bridge.SenderID) {
	if !p.onChannel {
		p.route = b.router.route(topic)
		p.topic, p.said = p.route.topic, p.route.topic
		return
	}
	a := &p.address
	p.said = b.topicOf(&bridge.Message{Type: a.Type, Channel: a.Channel, Receiver: a.Receiver, Sender: sender})
	p.topic = p.said[:len(topic)] // the client leaves out the sender at most
}

// handAt gives a client's message to all who get what is said at a place.
func (b *Broker) handAt(p *place, m *message, by handing) error {
	defer b.underWay.end(b.underWay.begin())
	switch {
	case b.router.current(p.route):
	case p.onChannel:
		p.route = b.router.to(&p.address, m.origin.sender().ID())
	default:
		p.route = b.router.route([]byte(p.topic))
	}
	if m.topic == "" {
		m.topic = p.said
	}
	return b.handTo(p.route, m, by)
}
