//go:build homeassistant

package realhouse

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"watchtower/internal/harness/house"
)

// What Home Assistant publishes and the gateway refuses is an event there. Home Assistant
// itself takes every answer for a success.
func TestRefusalsAreEvents(t *testing.T) {
	p := start(t, watering)
	h := house.Open(t)
	h.Join(p.broker())
	h.Has(gatewayEntities...)
	settled(h)
	const event = "event.watchtower_home_refused"
	refused := func(topic, reason string) {
		t.Helper()
		states := h.Until("the event says "+topic, func(s map[string]house.State) bool { return s[event].Attributes["topic"] == topic })
		assert.Equal(t, "refused", states[event].Attributes["event_type"])
		assert.Contains(t, states[event].Attributes["reason"], reason)
		assert.Equal(t, "homeassistant", states[event].Attributes["name"])
		assert.Contains(t, p.out.String(), reason)
	}
	const say = "notify.watchtower_home_channel_5_say"
	h.Call("notify.send_message", say, map[string]any{"message": strings.Repeat("x", 64_001)})
	refused("watchtower/channels/5/broadcast", "64000")
	h.Call("mqtt.publish", "", map[string]any{"topic": "watchtower/channels/5/send/99", "payload": "open", "qos": 0})
	refused("watchtower/channels/5/send/99", "receiver")

	// No packet may be so large. Home Assistant is disconnected, and repeats it.
	h.Allow(connectionLost, "No ACK from MQTT server")
	h.Call("mqtt.publish", "", map[string]any{"topic": "lamp/set", "payload": strings.Repeat("x", 2<<20), "qos": 1})
	refused("lamp/set", "mqtt.max_packet_bytes")
	h.Call("notify.send_message", say, map[string]any{"message": "after it"})
	h.Shows("sensor.watchtower_home_channel_5_last", "after it")
}
