package remote

import (
	"errors"
	"sync"
)

// Filter is a topic filter of topics that are not the gateway's.
type Filter struct {
	Topic    string
	QoS      byte // 2 counts as 1
	Retained bool // what the broker has kept is wanted, too
}

// Topics are the topics of others at the foreign broker.
type Topics struct {
	bus  *Bus
	hear func(topic string, payload []byte, retained bool)

	mu   sync.Mutex
	subs []*subscription
}

// Topics returns others' topics. Hear is called with their messages; it waits for nothing.
func (b *Bus) Topics(hear func(topic string, payload []byte, retained bool)) *Topics {
	return &Topics{bus: b, hear: hear}
}

// Listen has what others publish heard, by filters of which none covers another. They take the
// place of those of an earlier call.
func (t *Topics) Listen(filters []Filter) {
	t.mu.Lock()
	defer t.mu.Unlock()
	was := t.subs
	t.subs = nil
	for _, f := range filters {
		t.subs = append(t.subs, &subscription{filter: f.Topic, qos: min(f.QoS, 1), others: true, kept: f.Retained, handler: t.take})
	}
	t.bus.client.replace(was, t.subs)
}

// take hears a message. A broker that gives it once for each filter says for which: only the
// first of them counts.
func (t *Topics) take(m *received) {
	t.hear(m.topic, m.payload, m.retain)
}

// errFull and errAway say why nobody gets a message.
var (
	errFull = errors.New("too much waits for the foreign broker")
	errAway = errors.New("the foreign broker is not connected")
)

// Publish publishes a message on a topic of others. QoS 2 counts as 1. While the broker is away
// it fails: a command would come as a surprise later.
func (t *Topics) Publish(topic string, payload []byte, qos byte, retain bool) error {
	c := t.bus.client
	version := c.version()
	if version == 0 {
		return errAway
	}
	it := &item{version: version, drop: t.bus.drop}
	it.b, it.idAt = (&publish{topic: []byte(topic), payload: payload, qos: min(qos, 1), retain: retain}).encode(nil, version)
	if !c.send(it, nil) {
		return errFull
	}
	return nil
}
