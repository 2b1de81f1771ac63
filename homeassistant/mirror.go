package homeassistant

import (
	"encoding/base64"
	"maps"
	"strings"
	"time"
	"unicode/utf8"

	"watchtower/bridge"
)

const (
	eventType = "message"

	// fieldsBytes is the most that a message may have to be taken apart. Home
	// Assistant keeps no attributes of such a size anyway.
	fieldsBytes = 16 << 10

	// stateMost is the most characters that a state may have in Home Assistant.
	stateMost = 255
)

// hear gets the messages of the channels that ask, in their order.
func (s *Service) hear(jobs []bridge.Job) {
	for _, j := range jobs {
		m := j.Message
		switch what := s.describe(m); what {
		case taken: // it fires nothing
		default:
			s.mirror(m, what == message)
		}
		j.Done(s.hub.Counters(), s.tap.Protocol(), 0, 0)
	}
}

// mirror publishes a message as Home Assistant can read it, and feeds its sender's
// state with it.
func (s *Service) mirror(m *bridge.Message, feeds bool) {
	var said map[string]any
	if len(m.Data) <= fieldsBytes {
		said = fields(m.Data)
	}
	about := aboutMessage(m)
	event := map[string]any{}
	maps.Copy(event, said)
	maps.Copy(event, about) // ours win
	event["event_type"] = eventType
	if err := s.bus.PublishOwn(s.eventTopic(m.Channel), encode(event)); err != nil {
		s.failed("event not published", err)
	}
	text, _ := about["text"].(string)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.retainLocked(s.lastTopic(m.Channel), encode(map[string]any{"state": cut(text), "attributes": about}))
	if feeds {
		s.feedLocked(m, said)
	}
}

// aboutMessage is what is said of every message.
func aboutMessage(m *bridge.Message) map[string]any {
	about := map[string]any{
		"id": m.ID.String(), "time": m.Time.UTC().Format("2006-01-02T15:04:05.000Z07:00"),
		"channel": m.Channel, "sender": m.Sender, "name": m.Name, "text": string(m.Data),
	}
	if !utf8.Valid(m.Data) {
		about["text"], about["encoding"] = base64.StdEncoding.EncodeToString(m.Data), "base64"
	}
	return about
}

// cut cuts a text to the characters that a state may have.
func cut(text string) string {
	n := 0
	for i := range text {
		if n == stateMost {
			return text[:i]
		}
		n++
	}
	return text
}

// retainLocked has a retained topic written soon, in place of what was to be
// written to it. The caller holds mu.
func (s *Service) retainLocked(topic string, payload []byte) {
	if s.quiet { // nobody may be there to write it later
		s.failed("state not published", s.bus.PublishKept(topic, payload))
		return
	}
	s.due[topic] = payload
	signal(s.wake)
}

// writeDue writes the retained topics that are due.
func (s *Service) writeDue() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writeLocked()
}

func (s *Service) writeLocked() {
	for topic, payload := range s.due {
		s.failed("state not published", s.bus.PublishKept(topic, payload))
	}
	clear(s.due)
}

// throttle lets through what a key says, once a minute.
type throttle struct{ last map[bridge.SenderID]time.Time }

func newThrottle() *throttle { return &throttle{map[bridge.SenderID]time.Time{}} }

// allow reports whether the key is to be let through, and notes that it was.
func (t *throttle) allow(key bridge.SenderID, now time.Time) bool {
	if last, ok := t.last[key]; ok && now.Sub(last) < time.Minute {
		return false
	}
	if len(t.last) >= 1024 {
		clear(t.last)
	}
	t.last[key] = now
	return true
}

// oneLine is a fault as a log line has it.
func oneLine(err error) string { return strings.ToValidUTF8(err.Error(), "?") }
