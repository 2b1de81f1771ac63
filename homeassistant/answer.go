package homeassistant

import (
	"strings"
	"time"

	"watchtower/bridge"
)

// The limits of what a sender is told of the faults in its description.
const (
	answerBytes = 1000 // fits a datagram
	answerTTL   = time.Minute
)

// reject tells of a description's faults: it counts them, sends them to the sender, and
// writes those that are new to the log.
func (s *Service) reject(m *bridge.Message, faults []string, reason bridge.Reason) {
	s.hub.Counters().Drop(m.Via, reason, 1)
	all := strings.Join(faults, "; ")
	if s.noteFault(m, all) && s.noisy.allow(m.Sender, s.hub.Now()) {
		s.log.WithField("sender", m.Sender).WithField("name", m.Name).WithField("channel", m.Channel).
			WithField("fault", all).Warn("self-description refused")
	}
	s.answer(m.Channel, m.Sender, strings.Join(faults, "\n"))
}

// answer sends a text to a sender, in the gateway's own name. A sender that cannot be reached on
// the channel misses it.
func (s *Service) answer(c bridge.Channel, to bridge.SenderID, text string) {
	if len(text) > answerBytes {
		text = strings.ToValidUTF8(text[:answerBytes], "")
	}
	_, err := s.hub.Publish(s.voice.of(s.hub, s.tree.Gateway()), bridge.Publication{
		Type: bridge.Send, Channels: []bridge.Channel{c}, Receivers: []bridge.SenderID{to}, Outside: true,
		Content: bridge.Content{Hint: bridge.Text, Data: []byte(text)}, Via: s.tap.Protocol(), TTL: answerTTL,
	})
	if err != nil {
		s.log.WithError(err).WithField("sender", to).Debug("a device is not answered")
	}
}
