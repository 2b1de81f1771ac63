package mqtt

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"watchtower/bridge"
)

// takeWill checks and counts the will in CONNECT. The client must be allowed to publish to
// its topic, and the topic must not name another sender.
func (c *conn) takeWill(pk *packets.Packet, who identity) packets.Code {
	if !pk.Connect.WillFlag {
		return packets.Code{}
	}
	topic := pk.Connect.WillTopic
	if strings.HasPrefix(topic, "$SYS/") { // every mosquitto bridge has such a will
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
	case errors.As(err, &refusal) && refusal.Code == bridge.UnjoinedReceiver: // it may join later
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

// sendWill publishes a will, if there is one, with its client's rights. It does not wait
// for full queues, since there is no publisher to hold back.
func (b *Broker) sendWill(s *session, will *message) {
	if will == nil {
		return
	}
	m := will.again()
	err := b.admit(s, m, bridge.Voice{}) // nobody says a will: it confirms nothing by itself
	if err == nil {
		if m.channel != nil {
			m.channel.Wait = false
		}
		err = b.deliverAdmitted(m, handing{})
	}
	if err != nil {
		b.refuse(s, will.topic, 0, err)
	}
}

// grace begins the grace of a session's will.
func (b *Broker) grace(s *session) {
	g := &grace{}
	g.unwatch = b.Watch(s.will.topic, func(string, []byte, bridge.Client) { g.written.Store(true) })
	s.graced = g
}

// graceOver ends a session's grace, if it has one, and reports whether its will is
// discarded, because its topic was written.
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
