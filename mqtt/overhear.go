package mqtt

import (
	"time"

	"watchtower/bridge"
)

// A map of channels (package channelmap) listens to the clients' own topics, and publishes on
// them in the gateway's name.

// Ear hears messages of others than the gateway itself. Its methods are called one at a time.
type Ear struct {
	broker *Broker
	to     *watcher
	subs   map[string]*subscription // by filter
}

// Ear returns an ear that calls f with each message on a topic that it listens to, once however
// many of its filters match. The gateway's own messages are not among them, nor those of
// PublishOutside. Stored says that a message did not happen just now: the gateways that share
// their channels had retained it before. F runs in the publisher's goroutine: it must return
// quickly and not keep the payload's bytes.
func (b *Broker) Ear(f func(topic string, payload []byte, stored bool)) *Ear {
	return &Ear{broker: b, subs: map[string]*subscription{}, to: &watcher{func(m *message, stored bool) {
		if !m.own {
			f(m.topic, m.payload, stored)
		}
	}}}
}

// Listen makes the ear listen to these filters and no others. It misses nothing of those that it
// listened to before.
func (e *Ear) Listen(filters []string) {
	wanted := map[string]*subscription{}
	for _, filter := range filters {
		sub := e.subs[filter]
		if sub == nil {
			sub = &subscription{filter: filter, topics: filter, watch: e.to}
			e.broker.router.add(sub, nil)
		}
		wanted[filter] = sub
	}
	for filter, sub := range e.subs {
		if wanted[filter] == nil {
			e.broker.router.remove(sub)
		}
	}
	e.subs = wanted
}

// EachRetained calls f with the clients' retained messages whose topics match a filter. F only
// queues: meanwhile no message can be retained.
func (b *Broker) EachRetained(filter string, f func(topic string, payload []byte)) {
	b.retained.match(filter, b.now(), func(m *message, _ int) {
		if !m.own {
			f(m.topic, m.payload)
		}
	})
}

// EachKept calls f with the retained messages whose topics match a filter, and with how long each
// is still retained; 0: until it is replaced. F only queues: meanwhile no message can be retained.
func (b *Broker) EachKept(filter string, f func(topic string, payload []byte, left time.Duration)) {
	now := b.now()
	b.retained.match(filter, now, func(m *message, _ int) {
		left := time.Duration(0)
		if m.expires != 0 {
			left = max(time.UnixMilli(m.expires).Sub(now), time.Millisecond)
		}
		f(m.topic, m.payload, left)
	})
}

// PublishOutside publishes on a clients' topic in the gateway's name. It waits for no receiver.
// A retained message counts as a client's.
func (b *Broker) PublishOutside(topic string, payload []byte, qos byte, retain bool) error {
	if err := b.MayPublishOutside(topic); err != nil {
		return err
	}
	if err := b.fits(topic, payload); err != nil {
		return err
	}
	return b.deliverAdmitted(&message{topic: topic, payload: payload, qos: qos, retain: retain, own: true}, handing{})
}

// MayPublishOutside returns why PublishOutside refuses a topic; nil: it does not.
func (b *Broker) MayPublishOutside(topic string) error {
	if err := b.MayPublish(topic); err != nil {
		return err
	}
	if place, _, _ := b.tree.ParsePublish(topic); place != bridge.Outside {
		return topicFault(ReservedTopic, "%s is a channel's", bridge.Shorten(topic))
	}
	return nil
}
