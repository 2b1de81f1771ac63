package remote

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"

	"watchtower/bridge"
)

// HouseName is the name of the sender of what Home Assistant says at the foreign broker. It is
// the gateway's own: nobody else can register it.
const HouseName = "homeassistant-remote"

// House is a Home Assistant at the foreign broker, as the gateway needs it. There is one for all
// that are there: nothing tells them apart.
//
// It publishes on a channel's topics without a sender, as its discovery says: what comes there
// is its word. With mqtt.remote.trust acl the broker's rules give these topics to it alone.
type House struct {
	bus    *Bus
	own    HouseBus
	hold   *bridge.Hold
	hears  []bridge.Channel // that Home Assistant is told of
	online atomic.Bool      // it was born, and has not said goodbye
	prefix string           // of the discovery topics

	mu      sync.Mutex
	removal func(topic string, remove func()) error
	refusal func(bridge.Refusal)
}

// HouseBus is the gateway's own broker, as the package homeassistant uses it. What is retained
// for Home Assistant is retained there, too, and outlives the process there.
type HouseBus interface {
	PublishOwn(topic string, payload []byte) error
	PublishRetained(topic string, payload []byte) error
	PublishKept(topic string, payload []byte, lifetime time.Duration) error
	Retained(topic string) []byte
	Watch(filter string, f func(topic string, payload []byte, from bridge.Client)) (end func())
	Subscribers(topic string) []bridge.Client
	OnRemoval(f func(topic string, remove func()) error)
	OnRefusal(f func(bridge.Refusal))
	EachKept(filter string, f func(topic string, payload []byte, left time.Duration))
}

// House has Home Assistant served at the foreign broker, too. It is called once, before Serve.
// Prefix is the topic under which Home Assistant looks for devices. Hears are the channels that it
// may speak on.
func (b *Bus) House(own HouseBus, prefix string, hears []bridge.Channel) *House {
	h := &House{bus: b, own: own, hears: hears, prefix: prefix, hold: b.hub.Holds().Own(HouseName)}
	b.house = h
	for _, c := range hears {
		b.turns.take(housesTurn(c), true)
	}
	own.EachKept(b.opts.BaseTopic+"/homeassistant/"+b.tree.Gateway()+"/#", b.documents.set) // of before the start
	for _, short := range []string{"/channels/+/broadcast", "/channels/+/send/+"} {
		b.client.subscribe(&subscription{filter: b.opts.BaseTopic + short, qos: 1, handler: h.hear})
	}
	b.control.subscribe(&subscription{filter: prefix + "/device/+/config", qos: 1, handler: h.changed})
	return h
}

// PublishOwn implements homeassistant.Bus.
func (h *House) PublishOwn(topic string, payload []byte) error {
	h.say(topic, payload)
	return h.own.PublishOwn(topic, payload)
}

// PublishRetained implements homeassistant.Bus.
func (h *House) PublishRetained(topic string, payload []byte) error {
	h.bus.documents.set(topic, payload, 0)
	return h.own.PublishRetained(topic, payload)
}

// PublishKept implements homeassistant.Bus.
func (h *House) PublishKept(topic string, payload []byte, lifetime time.Duration) error {
	h.bus.documents.set(topic, payload, lifetime)
	return h.own.PublishKept(topic, payload, lifetime)
}

// Retained implements homeassistant.Bus.
func (h *House) Retained(topic string) []byte { return h.own.Retained(topic) }

// Watch implements homeassistant.Bus.
func (h *House) Watch(filter string, f func(topic string, payload []byte, from bridge.Client)) (end func()) {
	sub := &subscription{filter: filter, qos: 1, handler: func(m *received) {
		h.born(m)
		f(m.topic, m.payload, h)
	}}
	h.bus.control.subscribe(sub)
	endOwn := h.own.Watch(filter, f)
	return func() { h.bus.control.replace([]*subscription{sub}, nil); endOwn() }
}

// born notes whether Home Assistant is there: its birth and last will message say so.
func (h *House) born(m *received) {
	switch string(m.payload) {
	case "online":
		h.online.Store(true)
	case "offline":
		h.online.Store(false)
	}
}

// Subscribers implements homeassistant.Bus. A Home Assistant that was born gets all that it was
// told of.
func (h *House) Subscribers(topic string) []bridge.Client {
	all := h.own.Subscribers(topic)
	if h.Connected() {
		all = append(all, h)
	}
	return all
}

// OnRemoval implements homeassistant.Bus.
func (h *House) OnRemoval(f func(topic string, remove func()) error) {
	h.mu.Lock()
	h.removal = f
	h.mu.Unlock()
	h.own.OnRemoval(func(topic string, remove func()) error {
		return f(topic, func() { remove(); h.bus.documents.set(topic, nil, 0) })
	})
}

// OnRefusal implements homeassistant.Bus.
func (h *House) OnRefusal(f func(bridge.Refusal)) {
	h.mu.Lock()
	h.refusal = f
	h.mu.Unlock()
	h.own.OnRefusal(f)
}

// changed hears that somebody wrote on a discovery topic of the gateway's: an empty message
// removes a device, as its owner does by hand, and all else is corrected.
func (h *House) changed(m *received) {
	d := h.bus.documents
	doc, own := d.find(m.topic)
	switch {
	case !own:
		return
	case len(m.payload) > 0:
		if string(doc.payload) != string(m.payload) {
			d.correct(m)
		}
		return
	}
	h.mu.Lock()
	f := h.removal
	h.mu.Unlock()
	if f == nil {
		d.correct(m)
		return
	}
	if err := f(m.topic, func() { d.forget(m.topic); _ = h.own.PublishRetained(m.topic, nil) }); err != nil {
		d.correct(m)
	}
}

// hear takes what Home Assistant says on a channel.
func (h *House) hear(m *received) {
	b := h.bus
	if b.kept(m) || strings.Contains(m.topic, "/channels/"+probeChannel+"/") {
		return
	}
	_, a, fault := b.tree.ParsePublish(m.topic)
	var err error
	switch {
	case fault != nil:
		b.refuse(m.topic, bridge.Malformed, fault.Error())
		return
	case !slices.Contains(h.hears, a.Channel) && b.elsewhere(a.Channel):
		return
	case !b.heard.Load() || !slices.Contains(h.hears, a.Channel):
		b.hub.Counters().Drop(Protocol, bridge.Forged, 1)
		b.tell(m.topic, "somebody speaks as Home Assistant at the foreign broker on a channel that is not announced to it (homeassistant: true): dropped", logrus.Fields{"channel": a.Channel})
		return
	}
	if !b.turns.mine(housesTurn(a.Channel), !b.settled.Load()) {
		return // another gateway takes it
	}
	if err = b.publish(h.hold.Sender(), a, m); err == nil {
		return
	}
	b.refuse(m.topic, bridge.Refused, err.Error())
	h.mu.Lock()
	f := h.refusal
	h.mu.Unlock()
	if f != nil {
		f(bridge.Refusal{Topic: m.topic, Why: err, From: h})
	}
}

// elsewhere reports whether Home Assistant was told of a channel by another gateway.
func (b *Bus) elsewhere(c bridge.Channel) bool {
	b.turns.await()
	return b.turns.elsewhere(housesTurn(c))
}

// Sender implements bridge.Client.
func (h *House) Sender() *bridge.Sender { return h.hold.Sender() }

// Connected implements bridge.Client.
func (h *House) Connected() bool { return h.online.Load() && h.bus.control.version() != 0 }

// Publish implements bridge.Client. Others at the broker get it, too.
func (h *House) Publish(topic string, payload []byte) { h.say(topic, payload) }

// Repeat implements bridge.Client.
func (h *House) Repeat(topic string) {
	if payload := h.own.Retained(topic); len(payload) > 0 {
		h.bus.documents.repeat(topic)
	}
}

// say publishes a message that is not retained, if the broker is there.
func (h *House) say(topic string, payload []byte) {
	c := h.bus.control
	version := c.version()
	if version == 0 {
		return
	}
	it := &item{version: version, drop: h.bus.drop}
	it.b, it.idAt = (&publish{topic: []byte(topic), payload: payload, qos: 1}).encode(nil, version)
	if !c.send(it, nil) {
		h.bus.dropped(bridge.QueueFull)
	}
}
