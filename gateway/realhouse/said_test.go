//go:build homeassistant

package realhouse

import (
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
