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

	// fieldsBytes is the most bytes of a message whose fields are read. Home Assistant does
	// not record larger attributes anyway.
	fieldsBytes = 16 << 10

	// stateMost is the most characters of a state in Home Assistant.
	stateMost = 255
)

// hear gets the messages of the announced channels, in their order.
func (s *Service) hear(jobs []bridge.Job) {
	s.giveUp()
	for _, j := range jobs {
		m := j.Message
		switch what := s.describe(m); what {
		case taken: // a description is not mirrored
		default:
			s.mirror(m, what == message)
		}
		j.Done(s.hub.Counters(), s.tap.Protocol(), 0, 0)
	}
}

// mirror publishes a message in the form that Home Assistant reads. If feeds is true, it
// also adds the message to its sender's state.
func (s *Service) mirror(m *bridge.Message, feeds bool) {
	var said map[string]any
	if len(m.Data) <= fieldsBytes {
		said = fields(m.Data)
	}
	about := aboutMessage(m)
	event := map[string]any{}
	maps.Copy(event, said)
	maps.Copy(event, about) // these replace fields of the same name
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

// aboutMessage returns the attributes that every message has.
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

// cut cuts a text to stateMost characters.
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

// retainLocked makes a payload due for a retained topic, in place of an earlier one that
// was not written yet. After Quiesce it publishes at once. The caller holds mu.
func (s *Service) retainLocked(topic string, payload []byte) {
	if s.quiet { // the goroutine that writes may have ended
		s.failed("state not published", s.bus.PublishKept(topic, payload, 0))
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
		s.failed("state not published", s.bus.PublishKept(topic, payload, 0))
	}
	clear(s.due)
}

// throttle allows something once a minute for each sender.
type throttle struct{ last map[bridge.SenderID]time.Time }

func newThrottle() *throttle { return &throttle{map[bridge.SenderID]time.Time{}} }

// allow reports whether the minute is over, and if so, begins the next one.
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

// oneLine returns an error's text for a log line, as valid UTF-8.
func oneLine(err error) string { return strings.ToValidUTF8(err.Error(), "?") }
