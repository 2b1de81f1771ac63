package mqtt

import (
	"errors"
	"maps"
	"time"

	"watchtower/bridge"
)

// InjectTopic is bridge.TopicBus's. Who is subscribed here gets the message as if its
// publisher were here. Its gateway has checked that it may be published.
func (b *Broker) InjectTopic(t *bridge.TopicMessage) {
	if !b.isShared(t) {
		b.hub.Counters().Drop(Protocol, bridge.Malformed, 1)
		b.warnOthers("a message of another gateway is on no topic of clients' own: it is dropped")
		return
	}
	b.take(t, false)
}

// LearnRetained is bridge.RetainedKeeper's.
func (b *Broker) LearnRetained(t *bridge.TopicMessage) {
	if t.Stamp != 0 && b.isShared(t) {
		t.Late = true
		b.take(t, true)
	}
}

// take delivers a message of another gateway or of the space, and retains it if it is to be.
func (b *Broker) take(t *bridge.TopicMessage, stored bool) {
	m := fromElsewhere(t)
	var owe []*session
	by := handing{among: &sharing{stored: stored, elsewhere: true, picks: t.Groups}}
	if t.Late {
		by.owe = &owe
	}
	if t.Stamp == 0 {
		_ = b.deliver(m, by) // not on a channel: it cannot fail
	} else {
		b.takeRetained(m, t, stored, by)
	}
	b.await(b.life, owe)
}

// takeRetained delivers a retained message unless a newer one was delivered. What comes from the
// store, and was known, was delivered before.
func (b *Broker) takeRetained(m *message, t *bridge.TopicMessage, stored bool, by handing) {
	turn := b.retained.turn(m.topic)
	turn.Lock()
	defer turn.Unlock()
	got, err := b.retained.merge(m, t.Stamp, publisherOf(t), stored, b.now())
	var limit overLimit
	switch {
	case errors.As(err, &limit):
		b.hub.Counters().Drop(Protocol, bridge.Limit, 1)
		b.warnOthers("a retained message of another gateway is not kept here: " + limit.Error())
	case err != nil:
		b.warnOthers(err.Error())
	}
	switch {
	case got == isNewest:
		_ = b.deliver(m, by)
	case got == wasOlder && !stored:
		b.hub.Counters().Drop(Protocol, Superseded, 1)
	}
}

// warnOthers logs what is wrong with messages of other gateways, once a minute at most for each
// cause.
func (b *Broker) warnOthers(event string) {
	if b.noisy.Allow("", event, b.now()) {
		b.log.Warn(event)
	}
}

// isShared reports whether gateways tell each other of a topic: one of clients' own, or one on
// which a gateway speaks for all.
func (b *Broker) isShared(t *bridge.TopicMessage) bool {
	if CheckTopic(t.Topic) != nil || t.Topic[0] == '$' {
		return false
	}
	place, _, _ := b.tree.ParsePublish(t.Topic)
	return t.Own && place != bridge.OnChannel || place == bridge.Outside && !b.isOwn(t.Topic)
}

// BeginRetained is bridge.RetainedKeeper's.
func (b *Broker) BeginRetained(space string) {
	r := b.retained
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.replica; s.space != "" && s.space != space { // what it knows is another space's
		clear(s.marks)
		clear(s.unwritten)
		s.removed, s.before = 0, time.Time{}
		r.markRest()
	}
	r.replica.space = space
	r.replica.begin()
}

// RetainedInStep is bridge.RetainedKeeper's. The first time it decides what becomes of that which
// the space does not have: it is written, unless the gateway was away for so long that the
// space may have forgotten that it was removed.
func (b *Broker) RetainedInStep() {
	r, now := b.retained, b.now()
	var dropped []*message
	r.mu.Lock()
	s := r.replica
	if s.inStep.IsZero() {
		s.inStep = now
		long := !s.before.IsZero() && now.Sub(s.before) > removedFor
		for topic, at := range s.unwritten {
			m := r.tree.get(topic)
			switch {
			case at != never:
			case long && m != nil && s.marks[topic].stamp.Time().Before(s.before.Add(notedEvery)):
				dropped = append(dropped, m)
				delete(s.unwritten, topic)
			default:
				s.unwritten[topic] = now.UnixMilli()
			}
		}
		s.before = time.Time{}
	}
	if now.Sub(s.noted) > notedEvery {
		s.forgetRemoved(func(_ int, m mark) bool { return now.Sub(m.stamp.Time()) > removedFor })
	}
	s.inStep = now
	r.mu.Unlock()
	for _, m := range dropped {
		b.dropForgotten(m)
	}
}

// dropForgotten removes a message that the space does not have any more.
func (b *Broker) dropForgotten(m *message) {
	turn := b.retained.turn(m.topic)
	turn.Lock()
	defer turn.Unlock()
	if b.retained.drop(m) {
		_ = b.deliver(&message{topic: m.topic, qos: 1, retain: true}, handing{among: &sharing{elsewhere: true}})
	}
}

// UnwrittenRetained is bridge.RetainedKeeper's.
func (b *Broker) UnwrittenRetained(most int) (all []*bridge.TopicMessage) {
	r, now := b.retained, b.now()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, topic := range r.replica.takeUnwritten(most, now) {
		known := r.replica.marks[topic]
		m := r.tree.get(topic)
		switch {
		case known.state == isRemoved:
			m = &message{topic: topic, retain: true}
		case m == nil || m.expired(now):
			delete(r.replica.unwritten, topic)
			continue
		}
		t := m.elsewhere()
		t.Stamp = known.stamp
		known.by.put(t)
		all = append(all, t)
	}
	return all
}

// LearnGroup is bridge.GroupBus's.
func (b *Broker) LearnGroup(at bridge.Slot, g bridge.PeerGroup) {
	b.groups.mu.Lock()
	defer b.groups.mu.Unlock()
	b.learnGroupLocked(at, g)
}

func (b *Broker) learnGroupLocked(at bridge.Slot, g bridge.PeerGroup) {
	known := b.groups.elsewhere[at]
	sub := known[g.Filter]
	if g.Connected+g.Away == 0 {
		if sub != nil {
			b.router.remove(sub)
			delete(known, g.Filter)
		}
		return
	}
	if sub == nil {
		filter, shared := cutShare(g.Filter)
		means, refusal := b.tree.ParseFilter(filter)
		if !shared || refusal != nil || !validFilter(g.Filter) {
			return
		}
		if known == nil {
			known = map[string]*subscription{}
			b.groups.elsewhere[at] = known
		}
		sub = &subscription{filter: g.Filter, topics: means.Whole(filter), means: means, shared: true, peer: &peerGroup{at: at}}
		known[g.Filter] = sub
		defer b.router.add(sub, nil)
	}
	sub.peer.connected.Store(int32(g.Connected))
	sub.peer.away.Store(int32(g.Away))
}

// ReplaceGroups is bridge.GroupBus's.
func (b *Broker) ReplaceGroups(at bridge.Slot, all []bridge.PeerGroup) {
	b.groups.mu.Lock()
	defer b.groups.mu.Unlock()
	left := maps.Clone(b.groups.elsewhere[at])
	for _, g := range all {
		delete(left, g.Filter)
		b.learnGroupLocked(at, g)
	}
	for filter := range left {
		b.learnGroupLocked(at, bridge.PeerGroup{Filter: filter})
	}
}
