package homeassistant

import (
	"encoding/base64"
	"maps"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"watchtower/bridge"
)

const (
	eventType = "message"

	// timeFormat is how events say when something was.
	timeFormat = "2006-01-02T15:04:05.000Z07:00"

	// attributesBytes is the most bytes of attributes that Home Assistant records, as JSON, and
	// fieldsBytes the most of a message whose fields are read.
	attributesBytes = 16 << 10
	fieldsBytes     = 16 << 10

	// stateMost is the most characters of a state in Home Assistant.
	stateMost = 255
)

// hear gets the messages of the announced channels, in their order.
func (s *Service) hear(jobs []bridge.Job) {
	s.giveUp()
	for _, j := range jobs {
		s.take(j.Message)
		j.Done(s.hub.Counters(), s.tap.Protocol(), 0, 0)
	}
}

// take mirrors a message, unless it is a description.
func (s *Service) take(m *bridge.Message) {
	if what := s.describe(m); what != taken {
		s.mirror(m, what == message)
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
	if err := s.bus.PublishOwn(s.eventTopic(m.Channel), eventOf(said, about)); err != nil {
		s.failed("event not published", err)
	}
	text, _ := about["text"].(string)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.retainLocked(s.lastTopic(m.Channel), encode(map[string]any{"state": cut(asState(text)), "attributes": about}))
	if feeds {
		s.feedLocked(m, said)
	}
}

// meant are the attributes that Home Assistant gives a meaning to: with one of them, a message
// would change what the event entity looks like, is called, or where it is on the map.
var meant = []string{
	"access_token", "assumed_state", "attribution", "device_class", "entity_id", "entity_picture", "event_type", "event_types",
	"friendly_name", "group_entities", "hidden", "icon", "latitude", "longitude", "options", "restored", "state_class",
	"supported_features", "unit_of_measurement",
}

// eventOf returns the event of a message: its fields, and what every message has, which
// replaces fields of the same name. Home Assistant does not record more than attributesBytes:
// beyond that there are the fields without the text, or the text without the fields.
func eventOf(said, about map[string]any) []byte {
	event := map[string]any{}
	maps.Copy(event, said)
	for _, name := range meant {
		delete(event, name)
	}
	maps.Copy(event, about)
	event["event_type"] = eventType
	b := encode(event)
	if len(b) <= attributesBytes || len(said) == 0 {
		return b
	}
	delete(event, "text")
	if b = encode(event); len(b) <= attributesBytes {
		return b
	}
	return eventOf(nil, about)
}

// asState returns a text as a state that shows it: some words mean for Home Assistant that
// there is no state, or no connection.
func asState(text string) string {
	switch strings.TrimSpace(text) {
	case "", "None", "unknown", "unavailable":
		return strconv.Quote(text)
	}
	return text
}

// aboutMessage returns the attributes that every message has.
func aboutMessage(m *bridge.Message) map[string]any {
	about := map[string]any{
		"id": m.ID.String(), "time": m.Time.UTC().Format(timeFormat),
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
