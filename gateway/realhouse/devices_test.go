//go:build homeassistant

package realhouse

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"watchtower/internal/harness/house"
)

// A channel becomes a device of its own, and a part of the gateway's again, while Home Assistant
// is there and while it is away.
func TestAChannelIsADeviceOfItsOwn(t *testing.T) {
	p := start(t, watering)
	h := house.Open(t)
	h.Allow(connectionLost)
	h.Join(p.broker())
	h.Has(gatewayEntities...)
	settled(h)
	const c = "watchtower_home_channel_5"
	channel := []string{"event." + c, "sensor." + c + "_last", "sensor." + c + "_members", "notify." + c + "_say"}
	gateway := slices.DeleteFunc(entities(gatewayEntities), func(e string) bool { return slices.Contains(channel, e) })
	own := []string{"event.watering", "sensor.watering_last", "sensor.watering_members", "notify.watering_say"}
	for i, apart := range []bool{true, false, true} {
		if i == 2 {
			h.Stop()
		}
		p.stop()
		if apart {
			p.configure("home", "channels: {5: {name: Watering, homeassistant: true, device: true}}")
		} else {
			p.configure("home", watering)
		}
		p.start()
		if i == 2 {
			h.Start()
		}
		now := channel
		if apart {
			now = own
		}
		h.Has(entities(gateway, now)...)
		_, there := h.Devices()["Watering"]
		assert.Equal(t, apart, there)
		d := p.client("d", nil)
		d.say("hello")
		h.Shows(now[1], "hello")
		d.leave()
		h.Call("notify.send_message", now[3], map[string]any{"message": "back"})
		h.Shows(now[1], "back")
		settled(h)
	}
	assert.Equal(t, h.Devices()["Watchtower home"].ID, h.Devices()["Watering"].Via)
}

// A description comes in parts, in any order.
func TestADeviceOfParts(t *testing.T) {
	p := start(t, watering)
	h := house.Open(t)
	h.Join(p.broker())
	d := p.device("well")
	d.say(`{"part":[3,3],"commands":["flush"]}`)
	d.say(`{"part":[1,3],"name":"Well","area":"Garden","sensors":{"level":{"unit":"cm","device_class":"distance"}}}`)
	d.say(`{"level":40}`)
	h.Shows("sensor.watchtower_home_channel_5_last", `{"level":40}`)
	h.Has(gatewayEntities...)
	d.say(`{"part":[2,3],"sensors":{"flow":{}},"switches":{"pump":{}}}`)
	h.Has(entities(gatewayEntities, []string{"sensor.well_level", "sensor.well_flow", "switch.well_pump", "button.well_flush"})...)
	d.say(`{"level":41,"flow":2,"pump":"on"}`)
	h.Shows("sensor.well_level", "41")
	h.Shows("sensor.well_flow", "2")
	h.Shows("switch.well_pump", "on")
	h.Call("button.press", "button.well_flush", nil)
	d.hears("flush")
	assert.Equal(t, "garden", h.Devices()["Well"].Area)
}

// What is wrong with a description is told to its sender, stands in the log once, and fires the
// event; what is right of it counts.
func TestARefusedDescription(t *testing.T) {
	p := start(t, watering)
	h := house.Open(t)
	h.Join(p.broker())
	h.Has(gatewayEntities...)
	settled(h)
	const event = "event.watchtower_home_channel_5"
	fired := func(text string) {
		t.Helper()
		h.Until("the event has it", func(s map[string]house.State) bool { return s[event].Attributes["text"] == text })
	}
	d := p.device("well")
	faulty := `{"sensors":{"m":{"unit":"m","device_class":"moisture"},"n":{}},"colour":"red"}`
	const faults = "colour: unknown key\nsensors.m.unit: must be one of % for moisture"
	for range 2 {
		d.say(faulty)
		topic := d.hears(faults)
		assert.True(t, strings.HasPrefix(topic, "watchtower/channels/5/send/"), topic)
	}
	fired(faulty)
	h.Has(entities(gatewayEntities, []string{"sensor.well_n"})...)
	assert.Equal(t, 1, p.lines("self-description refused"))

	nothing := `{"sensors":{"m":{"unit":"m","device_class":"moisture"}}}`
	d.say(nothing) // the device stays as it was
	d.hears("sensors.m.unit: must be one of % for moisture")
	fired(nothing)
	h.Has(entities(gatewayEntities, []string{"sensor.well_n"})...)
	d.say(`{"sensors":{"m":{"unit":"%","device_class":"moisture"}}}`)
	h.Has(entities(gatewayEntities, []string{"sensor.well_m"})...)
}
