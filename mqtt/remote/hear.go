package remote

import (
	"errors"
	"strings"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
	"github.com/sirupsen/logrus"

	"watchtower/bridge"
)

// hear takes what was published on a channel's topics at the broker.
func (b *Bus) hear(m *received) {
	if b.kept(m) {
		return
	}
	if m.gateway != "" && b.neighbours.knows(m.gateway) || strings.Contains(m.topic, "/channels/"+probeChannel+"/") {
		return // another gateway's, which tells it by itself, or a probe's
	}
	_, a, err := b.tree.ParsePublish(m.topic)
	if err != nil {
		b.refuse(m.topic, bridge.Malformed, err.Error())
		return
	}
	b.turns.await()
	s, ok := b.speaker(a.Sender)
	if !ok {
		b.forged(m.topic, a.Sender)
		return
	}
	if !b.turns.mine(clientsTurn(a.Sender), !b.settled.Load()) {
		return // another gateway takes it
	}
	b.hub.Seen(s)
	if err := b.publish(s, a, m); err != nil {
		b.refuse(m.topic, bridge.Refused, err.Error())
	}
}

// kept reports whether the broker had kept a channel message, or whether it is the removal of
// one. What is kept is removed.
func (b *Bus) kept(m *received) bool {
	if !m.retain {
		return false
	}
	b.clear(m)
	return len(m.payload) == 0 || !b.settled.Load()
}

// publish says a message of the broker on its channel.
func (b *Bus) publish(s *bridge.Sender, a bridge.Address, m *received) error {
	p := bridge.Publication{
		Type: a.Type, Channels: []bridge.Channel{a.Channel}, Via: Protocol, Wait: true, Outside: true,
		Content: bridge.Content{Data: m.payload, Hint: m.hint}, TTL: time.Duration(m.expiry) * time.Second,
	}
	if a.Type == bridge.Send {
		if a.Receiver == 0 {
			id, err := b.hub.Receiver(a.ReceiverName)
			if err != nil {
				return err
			}
			a.Receiver = id
		}
		p.Receivers = []bridge.SenderID{a.Receiver}
	}
	_, err := b.hub.Publish(s, p)
	var waits *bridge.Unconfirmed
	if errors.As(err, &waits) {
		return nil
	}
	return err
}

// speaker returns the sender that a client of the broker may speak as.
func (b *Bus) speaker(id bridge.SenderID) (*bridge.Sender, bool) {
	if !b.heard.Load() {
		return nil, false
	}
	return b.hub.Directory().Remote(id, b.opts.Remote.Trust == "acl")
}

// gatewayOf returns the name of the gateway that published a message, as the message says.
func gatewayOf(p *packets.Properties) string {
	for _, u := range p.User {
		if u.Key == "gateway" {
			return u.Val
		}
	}
	return ""
}

// hint is what a message's bytes are meant to be, as its publisher said.
func hint(p *packets.Properties) bridge.Hint {
	switch {
	case p.ContentType == contentJSON:
		return bridge.JSON
	case strings.HasPrefix(p.ContentType, "text/plain"), p.PayloadFormatFlag && p.PayloadFormat == 1:
		return bridge.Text
	}
	return bridge.Opaque
}

// clear removes a channel message that the broker has kept: it would come again to everybody who
// subscribes, as if it was said then.
func (b *Bus) clear(m *received) {
	if len(m.payload) == 0 {
		return
	}
	b.cleared.Add(1)
	b.tell(m.topic, "a client of the foreign broker sets the retain flag on a channel: the gateway removes what was retained", nil)
	b.client.publish(&publish{topic: []byte(m.topic), qos: 1, retain: true}, b.client.said())
}

// forged drops what was said in the name of somebody who was not registered for that.
// Another gateway may have that id to hear.
func (b *Bus) forged(topic string, id bridge.SenderID) {
	if id != 0 && (!b.hub.Known(id) && !b.neighbours.alone() || b.turns.elsewhere(clientsTurn(id))) {
		return
	}
	b.hub.Counters().Drop(Protocol, bridge.Forged, 1)
	b.tell(topic, "a client of the foreign broker speaks under an id that was not registered for it: dropped", logrus.Fields{"sender": id})
}

// refuse drops what a client of the broker may not say.
func (b *Bus) refuse(topic string, why bridge.Reason, text string) {
	b.hub.Counters().Drop(Protocol, why, 1)
	b.tell(topic, "a message of the foreign broker is dropped: "+text, nil)
}

// tell logs something of a message: once a minute at most for each topic.
func (b *Bus) tell(topic, text string, more logrus.Fields) {
	if b.noisy.Allow(topic, text, b.hub.Now()) {
		b.log.WithFields(more).WithField("topic", bridge.Shorten(topic)).Warn(text)
	}
}
