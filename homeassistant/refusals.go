package homeassistant

import (
	"context"

	"watchtower/bridge"
)

// refusedType is the type of the events on the gateway's device that tell of refused publishes.
const refusedType = "refused"

const (
	refusalsWaiting = 16 // the most refusals that wait to be told
	refusalPatience = 30 // how often opts.Every a refusal waits for somebody who listens
)

// onRefusal gets a refused publish from the broker, in its client's goroutine.
func (s *Service) onRefusal(r bridge.Refusal) {
	if !s.concerns(r) {
		return
	}
	select {
	case s.refusals <- r:
	default:
		s.untold.Add(1)
	}
}

// concerns reports whether nobody else tells people of a refusal: of what a house published,
// because Home Assistant takes every answer for a success; and of what a client published on an
// announced channel, if it was not told.
func (s *Service) concerns(r bridge.Refusal) bool {
	_, a, _ := s.tree.ParsePublish(r.Topic)
	_, announced := s.opts.Channels[a.Channel]
	return announced && !r.Told || s.isHouse(r.From.Sender())
}

// isHouse reports whether a client is a Home Assistant: it gets discovery, or it was born since
// the start. One that has just connected again repeats what was not acknowledged before it
// subscribes.
func (s *Service) isHouse(client *bridge.Sender) bool {
	for _, house := range s.bus.Subscribers(s.topic(s.gatewayID())) {
		if house.Sender() == client {
			return true
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	_, born := s.homes[client.ID()]
	return born
}

// tellRefusals publishes them as events, one in opts.Every at most, until ctx ends. Each waits
// until somebody listens: a house that has just connected does not yet.
func (s *Service) tellRefusals(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case r := <-s.refusals:
			for i := 0; i == 0 || i < refusalPatience && len(s.bus.Subscribers(s.tree.Refused())) == 0; i++ {
				if !pause(ctx, s.opts.Every) {
					return
				}
			}
			s.failed("refusal not published", s.bus.PublishOwn(s.tree.Refused(), s.refusalEvent(r)))
		}
	}
}

// refusalEvent returns the event of a refusal.
func (s *Service) refusalEvent(r bridge.Refusal) []byte {
	from := r.From.Sender()
	event := map[string]any{
		"event_type": refusedType, "reason": r.Why.Error(), "topic": bridge.Shorten(r.Topic),
		"sender": from.ID(), "name": from.Name(), "time": s.hub.Now().UTC().Format(timeFormat),
	}
	if n := s.untold.Swap(0); n > 0 {
		event["untold"] = n
	}
	return encode(event)
}
