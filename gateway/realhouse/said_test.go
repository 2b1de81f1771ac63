//go:build homeassistant

package realhouse

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"watchtower/internal/harness/house"
)

// Whatever a device says, each sensor gets what it can read, the event entity stays what it
// is, and the last message is shown.
func TestWhateverADeviceSays(t *testing.T) {
	p := start(t, watering)
	h := house.Open(t)
	h.Join(p.broker())
	d := p.device("balcony")
	d.say(`{"sensors":{"m":{"value":"{{ value_json.m }}"},"part":{"value":"{{ value.split(',')[1] }}"}}}`)
	h.Shows("sensor.balcony_part", "unknown")
	d.say(`{"m":41}`)
	h.Shows("sensor.balcony_m", "41")
	d.say("wet,7")
	h.Shows("sensor.balcony_part", "7")
	assert.Equal(t, "41", h.State("sensor.balcony_m").State)

	for _, word := range []string{"None", "unavailable", "unknown"} {
		d.say(word + ",")
		d.say(word)
		h.Shows("sensor.watchtower_home_channel_5_last", `"`+word+`"`)
	}
	const event = "event.watchtower_home_channel_5"
	d.say(`{"event_types":["x"],"device_class":"doorbell","entity_picture":"http://x","latitude":1,"marked":true}`)
	states := h.Until("the event is there", func(all map[string]house.State) bool { return all[event].Attributes["marked"] == true })
	attributes := states[event].Attributes
	assert.Equal(t, []any{"message"}, attributes["event_types"])
	for _, name := range []string{"device_class", "entity_picture", "latitude"} {
		assert.NotContains(t, attributes, name)
	}
	h.Allow("list has no element 1") // the words above, for the second sensor
}

// What is too long for a state is cut there and whole in the attribute; what is too long for the
// recorder is in the event once. Words that mean something to Home Assistant are shown in quotes.
func TestLongTextsAndOddWords(t *testing.T) {
	p := start(t, watering)
	h := house.Open(t)
	h.Join(p.broker())
	d := p.device("balcony")
	d.say(`{"sensors":{"note":{},"text":{"value":"{{ value }}"}}}`)
	h.Shows("sensor.balcony_note", "unknown")
	h.Shows("sensor.balcony_text", "unknown")
	settled(h)
	const event, last = "event.watchtower_home_channel_5", "sensor.watchtower_home_channel_5_last"
	long := strings.Repeat("ä", 300)
	d.say(long)
	assert.Equal(t, long, h.Shows(last, long[:2*255]).Attributes["text"])
	h.Shows("sensor.balcony_text", long[:2*255])
	d.say(`{"note":"` + long + `"}`)
	h.Shows("sensor.balcony_note", long[:2*255])

	big := strings.Repeat("x", 9000)
	d.say(`{"big":"` + big + `"}`)
	states := h.Until("the event has the field", func(s map[string]house.State) bool { return s[event].Attributes["big"] == big })
	assert.NotContains(t, states[event].Attributes, "text", "together they are over the recorder's bound")
	plain := strings.Repeat("y", 15_000)
	d.say(plain)
	h.Until("the event has the text", func(s map[string]house.State) bool { return s[event].Attributes["text"] == plain })
	assert.Empty(t, h.Words())

	for _, word := range []string{"None", "unavailable", "unknown"} {
		d.say(`{"note":"` + word + `"}`)
		h.Shows("sensor.balcony_note", `"`+word+`"`)
	}
	for _, word := range []string{"unavailable", "unknown"} {
		d.say(word)
		h.Shows("sensor.balcony_text", `"`+word+`"`)
	}
	d.say(`{"note":null}`)
	h.Shows("sensor.balcony_note", "unknown")
}
