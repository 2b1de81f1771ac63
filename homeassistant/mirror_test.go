package homeassistant_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// said has a sender say something, and returns the event and the last message.
func said(t *testing.T, h *home, say func(string), text string) (event, last map[string]any) {
	t.Helper()
	h.bus.take(only(""))
	say(text)
	wait(t, 3)
	for _, p := range h.bus.take(func(topic string) bool { return strings.Contains(topic, "/home/5/") }) {
		into := &event
		if strings.HasSuffix(p.topic, "/last") {
			into = &last
		}
		require.NoError(t, json.Unmarshal([]byte(p.payload), into))
		if into == &event {
			assert.LessOrEqual(t, len(p.payload), max(16<<10, len(text)+1024))
		}
	}
	return event, last
}

// A message cannot change what its event's entity looks like.
func TestWhatAnEventMayCarry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHome(t, "home")
		h.start()
		_, say := h.sender("kitchen")
		event, _ := said(t, h, say, `{"event_types":["x"],"device_class":"doorbell","entity_picture":"http://x","latitude":1,"icon":"mdi:x","options":[],"m":7,"event_type":"y"}`)
		assert.EqualValues(t, 7, event["m"])
		assert.Equal(t, "message", event["event_type"])
		for _, name := range []string{"event_types", "device_class", "entity_picture", "latitude", "icon", "options"} {
			assert.NotContains(t, event, name)
		}
		assert.Contains(t, event["text"], "doorbell")

		half := fmt.Sprintf(`{"m":%q}`, strings.Repeat("x", 9000))
		event, last := said(t, h, say, half)
		assert.Len(t, event["m"], 9000)
		assert.NotContains(t, event, "text", "both would be too much")
		assert.Equal(t, half, last["attributes"].(map[string]any)["text"])
		quotes := fmt.Sprintf(`{"m":%q}`, strings.Repeat(`\`, 7500))
		event, _ = said(t, h, say, quotes)
		assert.Len(t, event["m"], 7500)
		large := fmt.Sprintf(`{"m":%q}`, strings.Repeat("x", 20_000))
		event, _ = said(t, h, say, large)
		assert.NotContains(t, event, "m")
		assert.Equal(t, large, event["text"])
		h.stop()
	})
}

// Whatever was said last is shown, also if Home Assistant would take it for no state.
func TestTheLastMessageIsShown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHome(t, "home")
		h.start()
		_, say := h.sender("kitchen")
		for text, want := range map[string]string{
			"None": `"None"`, "unavailable": `"unavailable"`, " unknown": `" unknown"`, "": `""`, "none": "none", "5": "5",
		} {
			_, last := said(t, h, say, text)
			assert.Equal(t, want, last["state"])
			assert.Equal(t, text, last["attributes"].(map[string]any)["text"])
		}
		h.stop()
	})
}
