package mqtt

import (
	"watchtower/bridge"
)

// InjectTopic is bridge.TopicBus's. Who is subscribed here gets the message as if its
// publisher were here. Its gateway has checked that it may be published.
func (b *Broker) InjectTopic(t *bridge.TopicMessage) {
	if !b.isOwnTopic(t.Topic) {
		b.hub.Counters().Drop(Protocol, bridge.Malformed, 1)
		b.warn("", "a message of another gateway is on no topic of clients' own: it is dropped", nil)
		return
	}
	m := fromElsewhere(t)
	if !t.Late {
		_ = b.deliver(m, handing{}) // not on a channel: it cannot fail
		return
	}
	var owe []*session
	_ = b.deliver(m, handing{owe: &owe})
	b.await(b.life, owe)
}

// isOwnTopic reports whether clients publish to a topic that is on no channel.
func (b *Broker) isOwnTopic(topic string) bool {
	if CheckTopic(topic) != nil || topic[0] == '$' {
		return false
	}
	place, _, _ := b.tree.ParsePublish(topic)
	return place == bridge.Outside
}
