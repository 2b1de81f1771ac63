package remote

import (
	"errors"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"watchtower/bridge"
)

// hear takes what was published on a channel's topics at the broker.
func (b *Bus) hear(m *received) {
	if b.kept(m) {
		return
	}
	if g := gatewayOf(m); g != "" && b.neighbours.knows(g) || strings.Contains(m.topic, "/channels/"+probeChannel+"/") {
		return // another gateway's, which tells it by itself, or a probe's
	}
	_, a, err := b.tree.ParsePublish(m.topic)
	if err != nil {
		b.refuse(m, bridge.Malformed, err.Error())
		return
	}
	s, ok := b.speaker(a.Sender)
	if !ok {
		b.forged(m, a.Sender)
		return
	}
	b.hub.Seen(s)
	if err := b.publish(s, a, m); err != nil {
		b.refuse(m, bridge.Refused, err.Error())
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
		Content: bridge.Content{Data: m.payload, Hint: hint(m)}, TTL: time.Duration(m.props.MessageExpiryInterval) * time.Second,
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
func gatewayOf(m *received) string {
	for _, u := range m.props.User {
		if u.Key == "gateway" {
			return u.Val
		}
	}
	return ""
}

// hint is what a message's bytes are meant to be, as its publisher said.
func hint(m *received) bridge.Hint {
	switch {
	case m.props.ContentType == contentJSON:
		return bridge.JSON
	case strings.HasPrefix(m.props.ContentType, "text/plain"), m.props.PayloadFormatFlag && m.props.PayloadFormat == 1:
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
	b.tell(m, "a client of the foreign broker sets the retain flag on a channel: the gateway removes what was retained", nil)
	b.client.publish(&publish{topic: []byte(m.topic), qos: 1, retain: true}, b.client.said())
}

// forged drops what was said in the name of somebody who was not registered for that.
// An id that is not known here may be another gateway's to hear.
func (b *Bus) forged(m *received, id bridge.SenderID) {
	if id != 0 && !b.hub.Known(id) && !b.neighbours.alone() {
		return
	}
	b.hub.Counters().Drop(Protocol, bridge.Forged, 1)
	b.tell(m, "a client of the foreign broker speaks under an id that was not registered for it: dropped", logrus.Fields{"sender": id})
}

// refuse drops what a client of the broker may not say.
func (b *Bus) refuse(m *received, why bridge.Reason, text string) {
	b.hub.Counters().Drop(Protocol, why, 1)
	b.tell(m, "a message of the foreign broker is dropped: "+text, nil)
}

// tell logs something of a message: once a minute at most for each topic.
func (b *Bus) tell(m *received, text string, more logrus.Fields) {
	if b.noisy.Allow(m.topic, text, b.hub.Now()) {
		b.log.WithFields(more).WithField("topic", bridge.Shorten(m.topic)).Warn(text)
	}
}
