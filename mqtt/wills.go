package mqtt

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"watchtower/bridge"
)

// takeWill checks and counts a client's will before it connects: it may be on no
// topic that the client could not publish to (never in another's name).
func (c *conn) takeWill(pk *packets.Packet, who identity) packets.Code {
	if !pk.Connect.WillFlag {
		return packets.Code{}
	}
	topic := pk.Connect.WillTopic
	if strings.HasPrefix(topic, "$SYS/") { // every mosquitto that is a bridge has one: it is to connect
		c.broker.warn(c.host(), fmt.Sprintf("will ignored: nobody publishes to %q", bridge.Shorten(topic)), c)
		return packets.Code{}
	}
	sender := who.hold.Sender()
	onChannel, address, err := c.broker.mayPublish(topic, sender, who.access)
	var refusal *bridge.Error
	var bad packets.Code
	switch {
	case errors.Is(err, errTopic), errors.Is(err, errLevels):
		bad = packets.ErrTopicNameInvalid
	case errors.As(err, &refusal) && refusal.Code == bridge.UnjoinedReceiver: // it may come yet
	case err != nil, onChannel && address.Sender != 0 && address.Sender != sender.ID():
		bad = packets.ErrNotAuthorized
	}
	if bad.Code != 0 {
		c.broker.warn(c.host(), fmt.Sprintf("MQTT client refused: it may not have a will on %q", bridge.Shorten(topic)), c)
		return bad
	}
	will := &message{topic: topic, payload: pk.Connect.WillPayload, qos: pk.Connect.WillQos, retain: pk.Connect.WillRetain}
	if c.version == version5 {
		p := &pk.Connect.WillProperties
		will.extras, will.lifetime = carried(p), p.MessageExpiryInterval
		c.willDelay = time.Duration(p.WillDelayInterval) * time.Second
	}
	if !c.broker.wills.charge(will) {
		c.broker.limited(c, c.host(), errWills)
		return packets.ErrQuotaExceeded
	}
	c.will = will
	return packets.Code{}
}

// sendWill publishes a will, if there is one, as if its client had, but waits for
// nobody: there is no client to hold back.
func (b *Broker) sendWill(s *session, will *message) {
	if will == nil {
		return
	}
	m := will.again()
	err := b.admit(s, m)
	if err == nil {
		if m.channel != nil {
			m.channel.Wait = false
		}
		err = b.deliverAdmitted(m, nil)
	}
	if err != nil {
		b.refuse(s, will.topic, err)
	}
}

// grace begins the grace of a session's will.
func (b *Broker) grace(s *session) {
	g := &grace{}
	g.unwatch = b.Watch(s.will.topic, func(string, []byte) { g.written.Store(true) })
	s.graced = g
}

// graceOver ends the grace of a session, if it has one, and reports whether its
// will is given up.
func (b *Broker) graceOver(s *session) (givenUp bool) {
	b.sessions.mu.Lock()
	g := s.graced
	s.graced = nil
	b.sessions.mu.Unlock()
	if g == nil {
		return false
	}
	g.unwatch()
	return g.written.Load()
}
