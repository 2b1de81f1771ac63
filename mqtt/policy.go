package mqtt

import (
	"strings"
	"time"

	mochi "github.com/mochi-mqtt/server/v2"

	"watchtower/bridge"
)

// admit prepares a client's message for delivery, or returns why it is refused. The hub
// admits messages on channels.
func (b *Broker) admit(s *session, m *message, v bridge.Voice) error {
	m.origin = s
	return b.admitOf(s.sender(), s.access.Load(), m, v)
}

// admitOf does it for a sender with an access list, which may be nil.
func (b *Broker) admitOf(s *bridge.Sender, may *access, m *message, v bridge.Voice) error {
	if m.lifetime > 0 {
		m.expires = b.now().UnixMilli() + int64(m.lifetime)*1000
	}
	onChannel, address, err := b.mayPublish(m.topic, s, may)
	if err != nil {
		return err
	}
	if onChannel {
		content := bridge.Content{Data: m.payload, Hint: m.extras.hint()}
		cm, err := b.hub.Admit(s, address, content, v)
		if err != nil {
			return err
		}
		if m.lifetime > 0 {
			cm.Expires = cm.Time.Add(time.Duration(m.lifetime) * time.Second)
		}
		m.channel, m.retain, m.topic = cm, false, "" // handOn has the full topic
		return nil
	}
	b.hub.Counters().In(Protocol, 1)
	return nil
}

// mayPublish parses a topic, and checks whether a sender may publish to it: first the
// rules of the gateway's tree, then the user's access list. For a channel, the access
// list is applied to the full topic with the sender.
func (b *Broker) mayPublish(topic string, s *bridge.Sender, may *access) (onChannel bool, a bridge.Address, err error) {
	if strings.Count(topic, "/") >= topicLevels {
		return false, a, errLevels
	}
	if topic == "" || !mochi.IsValidFilter(topic, true) {
		return false, a, errTopic
	}
	if b.isOwn(topic) {
		return false, a, errOwn
	}
	place, a, refusal := b.tree.ParsePublish(topic)
	if refusal != nil {
		return false, a, refusal
	}
	onChannel = place == bridge.OnChannel
	if a.ReceiverName != "" {
		if a.Receiver, refusal = b.hub.Receiver(a.ReceiverName); refusal != nil {
			return onChannel, a, &bridge.Error{Code: refusal.Code, Field: "topic", Detail: refusal.Detail}
		}
	}
	if may == nil {
		return onChannel, a, nil
	}
	if onChannel {
		topic = string(b.tree.AppendTopic(nil, &bridge.Message{Type: a.Type, Channel: a.Channel, Receiver: a.Receiver, Sender: s.ID()}))
	}
	if !may.mayWrite(topic) {
		return onChannel, a, errDenied
	}
	return onChannel, a, nil
}

// publish admits a client's publish and delivers it. An Unconfirmed is no refusal.
func (b *Broker) publish(s *session, m *message, by handing) error {
	var err error
	if b.removesOwn(m) {
		err = b.removeOwn(s, m.topic)
	} else if err = b.admit(s, m, by.voice); err == nil {
		err = b.deliverAdmitted(m, by)
		if m.channel == nil { // else the hub has waited
			b.pace()
		}
	}
	if err != nil {
		b.refuse(s, m.topic, m.qos, err)
	}
	return err
}

// deliverAdmitted delivers a message, and retains it first if it has the retain flag. On
// an error it does neither.
func (b *Broker) deliverAdmitted(m *message, by handing) error {
	switch {
	case m.retain:
		return b.deliverRetained(m, published, by)
	case m.channel != nil:
		_ = b.handOn(m, by)
		return nil // a slow protocol has counted its drop
	}
	by.among = b.saying(published)
	return b.deliver(m, by) // not on a channel: it cannot fail
}
