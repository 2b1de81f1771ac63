package homeassistant

import (
	"context"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"watchtower/bridge"
)

// follow keeps the discovery messages up to date until ctx ends, one round after the
// other. It answers a birth message after a random wait, so that not all devices of a
// house answer at once. Further birth messages within the wait get the same answer.
func (s *Service) follow(ctx context.Context) {
	var answer <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.clearing:
			s.clearing = nil
			if answer == nil && len(s.births) == 0 { // else greetAll does it
				s.clearRetained()
			}
			continue
		case <-s.births:
			if answer == nil {
				answer = time.After(s.birthDelay())
			}
			continue
		case <-answer:
			answer = nil
			s.greetAll(ctx)
		case <-s.changed:
			s.reconcile(ctx)
		case <-s.asked:
			s.askAll(ctx)
		case <-s.hub.Directory().Departed():
			s.forget()
			s.reconcile(ctx)
		}
		if !pause(ctx, s.opts.Every) {
			return
		}
	}
}

func (s *Service) birthDelay() time.Duration {
	if s.opts.BirthDelay <= 0 {
		return 0
	}
	return rand.N(s.opts.BirthDelay)
}

// pause waits, and reports false if ctx ends before.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// reconcile publishes what has changed since Home Assistant was last told.
func (s *Service) reconcile(ctx context.Context) {
	s.order.Lock()
	before := s.known.Topics
	want, gone := s.compare()
	_ = s.remember()
	s.order.Unlock()
	changed := map[string]discovery{}
	for topic, d := range want {
		if old, ok := before[topic]; !ok || !old.equal(d) {
			changed[topic] = d
		}
	}
	s.tell(ctx, changed, gone, true)
	s.clearSoon()
}

// clearSoon has the leftovers cleared when Home Assistant has stopped reading those states:
// its templates fail at an empty one. Before its first birth message it may still read
// them, because it was not connected when they were removed.
func (s *Service) clearSoon() {
	switch born := s.birth.Load() != 0; {
	case !s.leftovers():
	case born:
		s.clearing = time.After(s.opts.Settle)
	case s.clearing == nil:
		s.clearing = time.After(s.opts.Absent)
	}
}

// tell first removes what is gone, and then publishes what has changed. Home Assistant would
// keep a second entity beside the first if both happened at once. Shown says that the houses that
// are there have seen what is gone; at the start, they may have been born since that was published.
func (s *Service) tell(ctx context.Context, changed, gone map[string]discovery, shown bool) {
	if len(gone) > 0 {
		there, ok := s.takeAway(ctx, gone)
		if !ok {
			return
		}
		if shown {
			s.order.Lock()
			s.seenGone(gone, there)
			s.order.Unlock()
		}
		if !pause(ctx, s.opts.Settle) {
			return
		}
	}
	for _, topic := range slices.Sorted(maps.Keys(changed)) {
		s.publish(topic, nil)
	}
}

// takeAway publishes the removal of entities. If their device stays, it publishes the
// device with these components reduced to their platform; else an empty payload. It returns the
// names of the houses that were there by topic.
func (s *Service) takeAway(ctx context.Context, gone map[string]discovery) (there map[string]map[string]bool, ok bool) {
	there = map[string]map[string]bool{}
	for i, topic := range slices.Sorted(maps.Keys(gone)) {
		if i > 0 && !pause(ctx, s.opts.Spread) {
			return nil, false
		}
		there[topic] = s.witnesses(topic)
		s.publish(topic, gone[topic].without())
	}
	return there, true
}

// publish publishes the discovery message of a topic as it is wanted now, with the stubs of
// removed components; an empty one if nothing is wanted there.
func (s *Service) publish(topic string, stubs map[string]component) {
	s.order.Lock()
	defer s.order.Unlock()
	var payload []byte
	if stays, ok := s.known.Topics[topic]; ok {
		payload = stays.with(stubs).payload()
	} else if stubs == nil {
		return // it was removed meanwhile
	}
	s.failed("discovery not published", s.bus.PublishRetained(topic, payload))
}

// greetAll answers the births of houses, one after the other.
func (s *Service) greetAll(ctx context.Context) {
	for _, c := range s.takeBorn() {
		s.greet(ctx, c)
	}
	s.clearing = nil
	s.clearRetained()
}

// greet answers the birth of a house, to it alone: discovery, then availability, then states.
func (s *Service) greet(ctx context.Context, c bridge.Client) {
	s.order.Lock()
	s.enter(houseName(c))
	_ = s.remember()
	topics := slices.Sorted(maps.Keys(s.known.Topics))
	s.order.Unlock()
	if !s.layGhosts(ctx, c) {
		return
	}
	if !s.repeat(ctx, c, topics) || !pause(ctx, s.opts.Settle) { // Home Assistant has to subscribe first
		return
	}
	s.order.Lock()
	states := s.retained(s.known.Devices)
	s.order.Unlock()
	c.Repeat(s.tree.Status())
	c.Repeat(s.tree.Info())
	topics = nil
	for _, channel := range s.channels() {
		if members := s.tree.Members(channel); len(s.bus.Retained(members)) > 0 {
			topics = append(topics, members)
		} else {
			c.Publish(members, nil) // a channel without members has none retained
		}
	}
	s.repeat(ctx, c, append(topics, states...))
}

// repeat sends retained messages to a house again. Many of them are spread over
// opts.Answer, so that no client's queue overflows.
func (s *Service) repeat(ctx context.Context, c bridge.Client, topics []string) bool {
	between := min(s.opts.Spread, s.opts.Answer/time.Duration(max(1, len(topics))))
	for i, topic := range topics {
		if i > 0 && !pause(ctx, between) {
			return false
		}
		c.Repeat(topic)
	}
	return true
}

// layGhosts removes from a house what was removed while it was away: it is shown the
// components once more, and then their removal.
func (s *Service) layGhosts(ctx context.Context, c bridge.Client) bool {
	name := houseName(c)
	s.order.Lock()
	ghosts := map[string]discovery{}
	if h := s.known.Houses[name]; h != nil {
		ghosts = maps.Clone(h.Ghosts)
	}
	s.order.Unlock()
	if len(ghosts) == 0 {
		return true
	}
	for _, step := range []func(discovery) map[string]component{
		func(ghost discovery) map[string]component { return ghost.veiled().Components },
		discovery.without,
	} {
		for i, topic := range slices.Sorted(maps.Keys(ghosts)) {
			if i > 0 && !pause(ctx, s.opts.Spread) {
				return false
			}
			s.showGhost(c, topic, ghosts[topic], step(ghosts[topic]))
		}
		if !pause(ctx, s.opts.Settle) {
			return false
		}
	}
	s.order.Lock()
	defer s.order.Unlock()
	if h := s.known.Houses[name]; h != nil && c.Connected() { // else it may have missed a part
		h.lay(ghosts)
		_ = s.remember()
	}
	return true
}

// showGhost sends a house the device of a topic with removed components, or with their stubs.
// If nothing else is left of the device, the stubs are an empty payload.
func (s *Service) showGhost(c bridge.Client, topic string, ghost discovery, components map[string]component) {
	s.order.Lock()
	defer s.order.Unlock()
	whole, stays := s.known.Topics[topic]
	if !stays {
		whole = ghost
		whole.Components = nil
		if isStub(components) {
			c.Publish(topic, nil)
			return
		}
	}
	c.Publish(topic, whole.with(components).payload())
}
