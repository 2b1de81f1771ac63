package mqtt

import (
	"bytes"
	"encoding/binary"
	"strings"

	"github.com/mochi-mqtt/server/v2/packets"

	"watchtower/bridge"
	"watchtower/bridge/outbound"
)

// Most packets are plain: acknowledgements without a reason, PINGREQ, and PUBLISH at QoS 0 and
// 1 without properties. They are executed directly from the bytes that were read.

// effortMost bounds how many deliveries one client makes in an event loop, while others
// wait: some 10 ms. What it sends beyond that its own goroutine executes.
const effortMost = 100_000

// plain executes the plain packets that b begins with, and returns how many bytes they
// have. It leaves others, and incomplete ones, to readOne. With a round it waits for nothing.
func (c *conn) plain(b []byte, r *outbound.Round) (used int) {
	defer c.fault(&c.spent)
	acks, effort := false, 0
	for len(b)-used >= 2 && c.spent == nil && c.over() == nil && (r == nil || effort < effortMost) {
		n := 0
		switch first := b[used]; {
		case first>>4 == packets.Publish:
			n = c.publishPlain(b[used:], r)
			if at := c.last; at != nil && at.route != nil {
				effort += len(at.route.targets)
			}
		case first == packets.Pingreq<<4 && b[used+1] == 0:
			n, c.spent = 2, c.ping(r)
		case b[used+1] == 2 && len(b)-used >= 4:
			n = c.acknowledged(b[used:], r)
			acks = true
		}
		if n == 0 {
			break
		}
		used += n
	}
	if acks && c.spoke {
		acknowledgeSegments(c.nc)
	}
	return used
}

// acknowledged executes PUBACKs, or a PUBREC or PUBCOMP. It returns 0 for other packets.
func (c *conn) acknowledged(b []byte, r *outbound.Round) int {
	id := binary.BigEndian.Uint16(b[2:])
	switch b[0] {
	case packets.Puback << 4:
		return c.session.ackedAll(b, r)
	case packets.Pubrec << 4:
		c.spent = c.goOn(packets.Pubrel<<4|2, id, c.session.recorded(id))
	case packets.Pubcomp << 4:
		c.session.completed(id, r)
	default:
		return 0
	}
	return 4
}

// behind reports whether packets have to wait for those before them (inbox.go).
func (c *conn) behind() bool {
	if c.inbox == nil {
		return false
	}
	c.inbox.mu.Lock()
	defer c.inbox.mu.Unlock()
	return c.inbox.running
}

// plainPublish is a PUBLISH without properties, as it was read.
type plainPublish struct {
	topic, payload []byte
	id             uint16
	qos            byte
	retain         bool
	length         int // of the packet
}

// parsePlain reads a plain PUBLISH. It reports false for any other packet.
func (c *conn) parsePlain(b []byte) (p plainPublish, ok bool) {
	const dup = 1 << 3
	if p.qos = b[0] >> 1 & 3; p.qos > 1 || p.qos == 0 && b[0]&dup > 0 { // MQTT-3.3.1-2
		return p, false
	}
	length, n := binary.Uvarint(b[1:min(len(b), 5)])
	if n <= 0 || length < 2 || int(length) > len(b)-1-n {
		return p, false
	}
	p.length = 1 + n + int(length)
	body := b[1+n : p.length]
	at := 2 + int(binary.BigEndian.Uint16(body))
	after := at + 2*int(p.qos)
	if at == 2 || after > len(body) || p.length > c.broker.opts.MaxPacketBytes {
		return p, false
	}
	p.topic = body[2:at]
	if p.qos > 0 {
		if p.id = binary.BigEndian.Uint16(body[at:]); p.id == 0 {
			return p, false
		}
	}
	if c.version == version5 {
		if after == len(body) || body[after] != 0 {
			return p, false
		}
		after++
	}
	p.payload, p.retain = body[after:], b[0]&1 > 0
	return p, true
}

// publishPlain executes a plain PUBLISH, and returns its length. It returns 0 for one that
// it leaves to publish.
func (c *conn) publishPlain(b []byte, r *outbound.Round) int {
	p, ok := c.parsePlain(b)
	if !ok || c.behind() {
		return 0
	}
	at := c.place(p.topic)
	if at == nil || r != nil && !c.broker.hasRoom(at) {
		return 0
	}
	c.spoke = true
	a := answer{}
	by := handing{round: r, voice: c.voice}
	if p.qos > 0 {
		a.kind, a.id, by.owe = packets.Puback, p.id, &c.owe // not &a.owe: a would be garbage of each publish
	}
	a.refusal = c.broker.publishAt(c.session, at, &message{payload: p.payload, qos: p.qos, retain: p.retain, origin: c.session}, by)
	a.owe, c.owe = c.owe, nil
	switch {
	case len(a.owe) > 0:
		c.hold(a)
	case a.kind != 0 && a.refusal == nil:
		c.spent = c.answerIn(r, packets.Puback<<4, 2, byte(p.id>>8), byte(p.id))
	default:
		c.spent = c.say(a)
	}
	return p.length
}

// hasRoom reports whether a publisher on a place would not wait for other protocols or gateways.
func (b *Broker) hasRoom(at *place) bool {
	if at.onChannel {
		return b.hub.Directory().HasRoom()
	}
	return !b.shares || b.hub.Peers().HasRoom()
}

// publishAt is publish for a message without properties, to a place. It makes a copy of the payload,
// which is still where it was read.
func (b *Broker) publishAt(s *session, p *place, m *message, by handing) (err error) {
	switch {
	case p.onChannel:
		if m.channel, err = b.hub.Admit(s.sender(), p.address, bridge.Content{Data: m.payload, Lent: true}, by.voice); err == nil {
			m.payload, m.retain = m.channel.Data, false
			_ = b.handAt(p, m, by) // a slow protocol has counted its drop
		}
	case m.retain:
		b.hub.Counters().In(Protocol, 1)
		m.payload = bytes.Clone(m.payload)
		m.topic = strings.Clone(p.said) // it counts by itself, and outlives the route
		err = b.deliverRetained(m, published, by)
	default:
		b.hub.Counters().In(Protocol, 1)
		m.payload = bytes.Clone(m.payload)
		by.among = b.saying(published)
		err = b.handAt(p, m, by)
	}
	if by.round == nil && !p.onChannel {
		b.pace()
	}
	if err != nil {
		b.refuse(s, p.topic, m.qos, err)
	}
	return err
}
