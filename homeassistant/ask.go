package homeassistant

import (
	"context"

	"watchtower/bridge"
)

// describeWord is what a device is sent to have it describe itself again.
const describeWord = "describe"

// askTopic is where the button of the gateway's device publishes. It is below the discovery
// prefix, where Home Assistant may write, and outside of the gateway's own topics.
func (s *Service) askTopic() string {
	return s.opts.DiscoveryPrefix + "/" + s.gatewayID() + "/" + describeWord
}

// askAll asks all members with a name on the announced channels to describe themselves again:
// also those that are no devices, because what was forgotten is not known here.
func (s *Service) askAll(ctx context.Context) {
	for _, c := range s.channels() {
		var list []bridge.MemberInfo
		for next := bridge.SenderID(1); next != 0; {
			list, next = s.hub.Directory().LookAtMembers(c, next, askedAtOnce)
			for _, m := range list {
				if m.Name == "" || m.Name == VoiceName(s.tree.Gateway()) {
					continue
				}
				s.answer(c, m.ID, describeWord)
				if !pause(ctx, s.opts.Spread) {
					return
				}
			}
		}
	}
}

const askedAtOnce = 64 // members that are read at once
