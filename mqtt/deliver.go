package mqtt

import (
	"slices"
	"strings"
	"time"

	"watchtower/bridge"
)

// Publish puts a message of another protocol on the bus.
func (b *Broker) Publish(m *bridge.Message) error {
	made := &message{payload: m.Data, qos: anyQoS, channel: m, expires: expires(m)}
	var by handing
	if m.Gateway != 0 {
		by.among = &sharing{elsewhere: true, picks: m.Groups}
	}
	if !m.Late {
		return b.handOn(made, by)
	}
	var owe []*session
	by.owe = &owe
	err := b.handOn(made, by)
	b.await(b.life, owe)
	return err
}

// handOn gives a message on a channel to all who get it.
func (b *Broker) handOn(m *message, by handing) error {
	defer b.underWay.end(b.underWay.begin())
	rt := b.routeOf(m.channel)
	if rt.any() {
		m.topic = b.topicOf(m.channel)
	}
	return b.handTo(rt, m, by)
}

// routeOf returns the route of a message on a channel.
func (b *Broker) routeOf(m *bridge.Message) *route {
	return b.router.to(&bridge.Address{Type: m.Type, Channel: m.Channel, Receiver: m.Receiver}, m.Sender)
}

// topicOf returns the topic of a message on a channel.
func (b *Broker) topicOf(m *bridge.Message) string {
	var room [128]byte
	return string(b.tree.AppendTopic(room[:0], m))
}

// expires returns when a message expires, in Unix milliseconds; 0: never.
func expires(m *bridge.Message) int64 {
	if m.Expires.IsZero() {
		return 0
	}
	return m.Expires.UnixMilli()
}

// PublishRetained publishes a retained message of the gateway's own.
func (b *Broker) PublishRetained(topic string, payload []byte) error {
	return b.deliverRetained(&message{topic: topic, payload: payload, qos: anyQoS, retain: true, own: true}, b.sourceOf(topic, own), handing{})
}

// ShareOwn says for which of the gateway's own topics, by their beginnings, it speaks for all
// gateways: what it publishes there reaches all their clients, and is retained by all. Nothing is
// withdrawn that was published before.
func (b *Broker) ShareOwn(beginnings ...string) { b.common.Store(&beginnings) }

// sourceOf returns the source of the gateway's own message: forAll, or the given one.
func (b *Broker) sourceOf(topic string, alone source) source {
	if all := b.common.Load(); b.shares && all != nil {
		for _, beginning := range *all {
			if strings.HasPrefix(topic, beginning) {
				return forAll
			}
		}
	}
	return alone
}

// PublishKept is PublishRetained for a message that is also written to disk. Lifetime is how
// long it is retained; 0: until it is replaced.
func (b *Broker) PublishKept(topic string, payload []byte, lifetime time.Duration) error {
	m := &message{topic: topic, payload: payload, qos: anyQoS, retain: true, own: true}
	if lifetime > 0 {
		m.expires = b.now().Add(lifetime).UnixMilli()
	}
	return b.deliverRetained(m, b.sourceOf(topic, kept), handing{})
}

// PublishOwn publishes a message of the gateway's own that is not retained.
func (b *Broker) PublishOwn(topic string, payload []byte) error {
	m := &message{topic: topic, payload: payload, qos: anyQoS, own: true}
	return b.deliver(m, handing{among: b.saying(b.sourceOf(topic, own))})
}

// deliverRetained retains a message and delivers it; on an error, neither. All publishers
// of a topic take turns, so the last message that a subscriber gets is the retained one.
// Nothing waits during a turn: deliveries go into queues.
func (b *Broker) deliverRetained(m *message, from source, by handing) error {
	turn := b.retained.turn(m.topic)
	turn.Lock()
	defer turn.Unlock()
	m.at = b.now().UnixMilli()
	if err := b.retained.set(m, from); err != nil { // only of a client's message
		return err
	}
	by.among = b.saying(from)
	return b.deliver(m, by)
}

func (b *Broker) deliver(m *message, by handing) error {
	defer b.underWay.end(b.underWay.begin())
	return b.handTo(b.router.route([]byte(m.topic)), m, by)
}

// handTo gives a message to all targets of its route, and to the other protocols' members
// if it is on a channel.
func (b *Broker) handTo(r *route, m *message, by handing) error {
	m.many = len(r.targets)+len(r.groups) > 1
	if b.shares {
		by.among = b.share(r, m, by.among, by.round)
	}
	offered, dropped, out := 0, 0, 0
	tally := func(t *target, v verdict) {
		switch v {
		case owing:
			*by.owe = append(*by.owe, t.session)
			fallthrough
		case taken:
			out++
		default:
			v.count(t.session)
			b.overflowed(t.session, v)
			if t.member && v != gone {
				dropped++
			}
		}
		if t.member && v != gone {
			offered++
		}
	}
	for i := range r.targets {
		t := &r.targets[i]
		if t.noLocal && m.origin == t.session {
			continue
		}
		d := t.delivery(m)
		tally(t, t.session.offer(&d, by))
	}
	for _, g := range r.groups {
		if len(g.targets) > 0 && (by.among == nil || by.among.serves(g, b.hub.Peers().Slot())) {
			tally(g.offer(m, by))
		}
	}
	for _, watch := range r.watches {
		watch.see(m, by.among.isStored())
	}
	b.hub.Counters().Out(Protocol, out)
	if m.channel == nil || b.leaves && b.parting.Load() { // what others say while sessions are given to them
		return nil
	}
	m.channel.Report(Protocol, offered, dropped)
	return b.hub.Deliver(m.channel, by.round)
}

// next returns the index of the target whose turn it is. The count wraps after 2³² messages.
func (g *group) next() int { return int((g.turn.Add(1) - 1) % uint32(len(g.targets))) }

// offer gives a message to one target of the group: the next connected one with room, else
// the next that is away and queues it, else one that makes the publisher wait. If no
// target takes it, the verdict is that of the first one whose session has not ended.
func (g *group) offer(m *message, by handing) (*target, verdict) {
	first := g.next()
	var later []*target // not connected
	t, v := &g.targets[first], gone
	try := func(next *target, by handing) bool {
		d := next.delivery(m)
		d.marks |= markShared
		got := next.session.offer(&d, by)
		if v == gone || got.took() {
			t, v = next, got
		}
		return got.took()
	}
	for i := range g.targets {
		next := &g.targets[(first+i)%len(g.targets)]
		if next.session.connection() == nil {
			later = append(later, next)
		} else if try(next, handing{round: by.round}) {
			return t, v
		}
	}
	for _, next := range later {
		if try(next, handing{round: by.round}) {
			return t, v
		}
	}
	for i := range g.targets {
		if by.owe != nil && try(&g.targets[(first+i)%len(g.targets)], by) {
			break
		}
	}
	return t, v
}

// passOn gives the unacknowledged messages of an ended session's shared subscriptions to
// other sessions that share them (MQTT 5, 4.8.2).
func (b *Broker) passOn(s *session, shared []string) {
	for _, m := range s.orphans {
		again := m.again()
		if m.channel != nil {
			again.topic = string(b.tree.AppendTopic(nil, m.channel)) // it may be the short one
		}
		v := gone
		for _, g := range b.router.route([]byte(again.topic)).groups {
			if slices.Contains(shared, g.filter) && len(g.targets) > 0 {
				var t *target
				t, v = g.offer(again, handing{})
				b.overflowed(t.session, v)
				v.count(t.session)
				break // one delivery goes to one session
			}
		}
		if v == gone {
			s.counters.Drop(Protocol, bridge.Disconnected, 1)
		}
	}
	s.orphans = nil
}
