package homeassistant

import (
	"context"
	"maps"
	"math/rand/v2"
	"slices"
	"time"
)

// follow keeps discovery true until ctx ends, one round after the other. A birth
// is answered after a short wait, so that not everything in the house speaks at
// once; another one meanwhile is answered with it.
func (s *Service) follow(ctx context.Context) {
	var answer <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return
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

// pause waits, and reports false if ctx ended meanwhile.
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
}

// tell takes away what is gone, and publishes the rest after that: removing and
// adding at once would leave a second entity beside the first.
func (s *Service) tell(ctx context.Context, changed, gone map[string]discovery) {
	if len(gone) > 0 {
		if !s.takeAway(ctx, gone) || !pause(ctx, s.opts.Settle) {
			return
		}
	}
	for _, topic := range slices.Sorted(maps.Keys(changed)) {
		s.publish(topic, changed[topic].payload())
	}
	// Templates would stumble over an empty state: nobody may read it any more.
	if len(changed) > 0 && s.leftovers() && !pause(ctx, s.opts.Settle) {
		return
	}
	s.clearRetained()
}

// takeAway is the step of a removal that Home Assistant acts on: of a device that
// stays the components without their keys, of another an empty payload.
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

// breathe lies between two topics of many, so that no client's queue overflows.
func (s *Service) breathe(ctx context.Context) bool { return pause(ctx, s.opts.Spread) }

func (s *Service) publish(topic string, payload []byte) {
	s.failed("discovery not published", s.bus.PublishRetained(topic, payload))
}

// greet answers a birth message: discovery, then availability, then states.
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
	if !pause(ctx, s.opts.Settle) { // it has to subscribe first
		return
	}
	s.repeat(s.bus.PublishRetained, s.tree.Status(), s.tree.Info())
	for _, c := range s.channels() {
		s.hub.Directory().Repeat(c)
	}
	s.repeat(s.bus.PublishKept, s.retained(s.known.Devices)...)
}

// layGhosts removes what was removed while Home Assistant may have been away.
// What it has never seen in this life of its own, it does not remove: so it is
// shown the thing once more, and then its end.
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
	if len(s.births) == 0 { // else it began anew meanwhile, and may not have seen all of it
		s.known.Ghosts = map[string]discovery{}
		s.remember()
	}
	return true
}

// repeat publishes retained messages anew. None is repeated after Quiesce: the
// last status is the gateway's farewell.
func (s *Service) repeat(publish func(string, []byte) error, topics ...string) {
	for _, topic := range topics {
		s.mu.Lock()
		if payload := s.bus.Retained(topic); len(payload) > 0 && !s.quiet && s.due[topic] == nil {
			s.failed("state not repeated", publish(topic, payload))
		}
		s.mu.Unlock()
	}
}
