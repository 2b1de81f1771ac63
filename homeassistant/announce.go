package homeassistant

import (
	"context"
	"maps"
	"math/rand/v2"
	"slices"
	"time"
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
			if answer == nil && len(s.births) == 0 { // else greet does it
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
			s.greet(ctx)
		case <-s.changed:
			s.reconcile(ctx)
		case <-s.hub.Departed():
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
	before := s.known.Topics
	want, gone := s.compare()
	s.remember()
	changed := map[string]discovery{}
	for topic, d := range want {
		if old, ok := before[topic]; !ok || !old.equal(d) {
			changed[topic] = d
		}
	}
	s.tell(ctx, changed, gone)
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
// keep a second entity beside the first if both happened at once.
func (s *Service) tell(ctx context.Context, changed, gone map[string]discovery) {
	if len(gone) > 0 {
		if !s.takeAway(ctx, gone) || !pause(ctx, s.opts.Settle) {
			return
		}
	}
	for _, topic := range slices.Sorted(maps.Keys(changed)) {
		s.publish(topic, changed[topic].payload())
	}
}

// takeAway publishes the removal of entities. If their device stays, it publishes the
// device with these components reduced to their platform; else an empty payload.
func (s *Service) takeAway(ctx context.Context, gone map[string]discovery) bool {
	for i, topic := range slices.Sorted(maps.Keys(gone)) {
		left := gone[topic]
		if i > 0 && !s.breathe(ctx) {
			return false
		}
		if stays, ok := s.known.Topics[topic]; ok {
			s.publish(topic, stays.with(left.without()).payload())
		} else {
			s.publish(topic, nil)
		}
	}
	return true
}

// breathe pauses between two of many discovery messages, so that no client's queue
// overflows.
func (s *Service) breathe(ctx context.Context) bool { return pause(ctx, s.opts.Spread) }

func (s *Service) publish(topic string, payload []byte) {
	s.failed("discovery not published", s.bus.PublishRetained(topic, payload))
}

// greet answers a birth message: discovery, then availability, then states. Then nobody reads
// the leftovers any more.
func (s *Service) greet(ctx context.Context) {
	if !s.layGhosts(ctx) {
		return
	}
	for i, topic := range slices.Sorted(maps.Keys(s.known.Topics)) {
		if i > 0 && !s.breathe(ctx) {
			return
		}
		s.publish(topic, s.known.Topics[topic].payload())
	}
	if !pause(ctx, s.opts.Settle) { // Home Assistant has to subscribe first
		return
	}
	s.repeat(s.bus.PublishRetained, s.tree.Status(), s.tree.Info())
	for _, c := range s.channels() {
		s.hub.Directory().Repeat(c)
	}
	s.repeat(s.bus.PublishKept, s.retained(s.known.Devices)...)
	s.clearing = nil
	s.clearRetained()
}

// layGhosts repeats removals that Home Assistant may have missed while it was away. After
// its restart it removes only what it has seen since. So layGhosts publishes the removed
// entities once more, and then removes them.
func (s *Service) layGhosts(ctx context.Context) bool {
	ghosts := s.known.Ghosts
	if len(ghosts) == 0 {
		return true
	}
	for i, topic := range slices.Sorted(maps.Keys(ghosts)) {
		ghost := ghosts[topic]
		if i > 0 && !s.breathe(ctx) {
			return false
		}
		whole := ghost
		if stays, ok := s.known.Topics[topic]; ok {
			whole = stays.with(ghost.Components)
		}
		s.publish(topic, whole.payload())
	}
	if !pause(ctx, s.opts.Settle) {
		return false
	}
	if !s.takeAway(ctx, ghosts) || !pause(ctx, s.opts.Settle) {
		return false
	}
	if len(s.births) == 0 { // else it restarted meanwhile, and may have missed a part
		s.known.Ghosts = map[string]discovery{}
		s.remember()
	}
	return true
}

// repeat publishes retained messages again. It does nothing after Quiesce, because the last
// status must stay the one that says offline.
func (s *Service) repeat(publish func(string, []byte) error, topics ...string) {
	for _, topic := range topics {
		s.mu.Lock()
		if payload := s.bus.Retained(topic); len(payload) > 0 && !s.quiet && s.due[topic] == nil {
			s.failed("state not repeated", publish(topic, payload))
		}
		s.mu.Unlock()
	}
}
