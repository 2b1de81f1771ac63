package gateway_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
	"watchtower/config"
	session "watchtower/device"
)

// balcony is what docs/home-assistant-reference.md has an Arduino say.
const balcony = `{"name":"Balcony","model":"ESP8266","sensors":{"moisture":{"unit":"%","device_class":"moisture","value":"{{ value_json.m }}"},` +
	`"battery":{"unit":"V","device_class":"voltage","state_class":"measurement"}},"commands":["open","close"]}`

// named is a device with a name on some protocol, on channel 5.
func (r *running) named(protocol, name string) *device {
	r.t.Helper()
	switch protocol {
	case "mqtt":
		return r.paho(name)
	case "udp":
		d, _ := r.sessionDevice("udp", session.Options{Name: name, Acknowledge: true})
		return d
	}
	d := &device{name: "stream", inbox: make(chan received, 10000), id: r.register(name).ID}
	r.follow(fmt.Sprintf("channels=5&sender=%d", d.id), func(b []byte) { d.inbox <- line(r.t, b) })
	d.broadcast = func(channel uint32, data []byte) {
		status, answer := r.call("POST", fmt.Sprintf("/broadcast?channels=%d&sender=%d", channel, d.id), "application/octet-stream", string(data))
		require.Equal(r.t, 200, status, answer)
	}
	return d
}

// Its entities, if it is named balcony.
func balconyEntities() []string {
	return []string{"sensor.balcony_moisture", "sensor.balcony_battery", "button.balcony_open", "button.balcony_close"}
}

func TestADeviceDescribesItself(t *testing.T) {
	t.Parallel()
	for i, protocol := range []string{"udp", "http", "mqtt"} {
		t.Run(protocol, func(t *testing.T) {
			r := startHomely(t, homely(t, nil))
			h := newHouse(t, r.at.MQTT, 4+i%2).start()
			d := r.named(protocol, "balcony")
			d.broadcast(5, []byte(balcony))
			s := h.has(entities(gatewayEntities, channelEntities(5), balconyEntities())...)
			e := balconyEntities()
			moisture, battery, open := e[0], e[1], e[2]
			assert.Equal(t, "Balcony", s.States[moisture].Device)
			assert.Equal(t, "Moisture", s.States[moisture].Name)
			assert.Equal(t, "watchtower_home", s.States[moisture].Via)

			d.broadcast(5, []byte(`{"m":41}`))
			h.shows(moisture, "41")
			d.broadcast(5, []byte(`{"battery":3.7,"other":true}`))
			h.shows(battery, "3.7")
			assert.Equal(t, "41", h.now().States[moisture].State, "one message does not make the other's sensor unknown")
			d.broadcast(5, allBytes(0))
			d.broadcast(5, []byte(`{"m":42}`))
			h.shows(moisture, "42")
			assert.Equal(t, "3.7", h.now().States[battery].State)

			for len(d.inbox) > 0 {
				<-d.inbox
			}
			h.do(map[string]string{"do": "press", "entity": open})
			for m := d.next(t); m.data != "open"; m = d.next(t) {
				assert.False(t, m.sent)
			}
			for range 4 { // the messages; the description is none
				assert.NotContains(t, h.event(t).Attributes, "sensors")
			}
			assert.Empty(t, h.now().Errors)
		})
	}
}

// A device that sends the same description at every start changes nothing. Changed entities
// are updated, missing ones are removed, and an empty description removes the device.
func TestADescriptionChanges(t *testing.T) {
	t.Parallel()
	r := startHomely(t, homely(t, nil))
	h := newHouse(t, r.at.MQTT, 5).start()
	h.settled()
	d := r.named("mqtt", "balcony")
	const topic = "homeassistant/device/watchtower_home_balcony/config"
	rest := entities(gatewayEntities, channelEntities(5))
	d.broadcast(5, []byte(balcony))
	before := h.has(entities(rest, balconyEntities())...).Updates[topic]
	for range 100 {
		d.broadcast(5, []byte(balcony))
	}
	d.broadcast(5, []byte(`{"m":41}`))
	h.shows(balconyEntities()[0], "41")
	assert.Equal(t, before, h.now().Updates[topic], "the same description costs nothing")

	d.broadcast(5, []byte(strings.ReplaceAll(strings.ReplaceAll(balcony, `"open",`, ""), "Balcony", "Terrace")))
	s := h.has(entities(rest, balconyEntities()[:2], balconyEntities()[3:])...)
	h.until("it has the new name", func(s houseStates) bool { return s.States[balconyEntities()[0]].Device == "Terrace" })
	assert.Equal(t, "41", s.States[balconyEntities()[0]].State)
	h.restart()
	h.has(entities(rest, balconyEntities()[:2], balconyEntities()[3:])...)
	h.shows(balconyEntities()[0], "41")

	d.broadcast(5, []byte(`{"sensors":{},"commands":[]}`))
	h.has(rest...)
	eventually(t, "its state is gone", func() bool {
		return r.g.Retained(fmt.Sprintf("watchtower/homeassistant/home/5/state/%d", d.id)) == nil
	})
	assert.Empty(t, h.now().Errors)
}

// The state of a sensor with expire_after is never retained: after a restart the sensor
// waits for its device.
func TestASensorThatExpires(t *testing.T) {
	t.Parallel()
	r := startHomely(t, homely(t, nil))
	h := newHouse(t, r.at.MQTT, 5).start()
	d := r.named("mqtt", "balcony")
	d.broadcast(5, []byte(`{"sensors":{"wind":{"unit":"m/s","device_class":"wind_speed","expire_after":6},"rain":{"unit":"mm"}}}`))
	const wind, rain = "sensor.balcony_wind", "sensor.balcony_rain"
	h.until("they are there", func(s houseStates) bool { return s.States[wind].Found && s.States[rain].State == "unknown" })
	d.broadcast(5, []byte(`{"wind":3,"rain":1}`))
	h.shows(wind, "3")
	h.shows(rain, "1")
	h.shows(wind, "unavailable")
	h.restart()
	h.shows(rain, "1")
	assert.Equal(t, "unavailable", h.now().States[wind].State)
	assert.Empty(t, h.now().Errors)
}

// However it goes, the device goes: its sender is deleted, forgotten, or its
// channel not asked for any more; and Home Assistant may be away.
func TestADeviceGoes(t *testing.T) {
	t.Parallel()
	rest := entities(gatewayEntities, channelEntities(5))
	for _, away := range []bool{false, true} {
		t.Run(fmt.Sprintf("deleted, away %t", away), func(t *testing.T) {
			r := startHomely(t, homely(t, nil))
			h := newHouse(t, r.at.MQTT, 5).start()
			d := r.named("http", "balcony")
			d.broadcast(5, []byte(balcony))
			d.broadcast(5, []byte(`{"m":41}`))
			h.has(entities(rest, balconyEntities())...)
			h.shows(balconyEntities()[0], "41")
			if away {
				h.stop()
			}
			status, answer := r.call(http.MethodDelete, fmt.Sprintf("/senders/%d", d.id), "", "")
			require.Less(t, status, 300, answer)
			topic := fmt.Sprintf("watchtower/homeassistant/home/5/state/%d", d.id)
			eventually(t, "its state is gone", func() bool { return r.g.Retained(topic) == nil })
			if away {
				h.start()
			}
			h.has(rest...)
			h.restart()
			assert.Empty(t, h.has(rest...).Errors)
		})
	}
	// Its sender is deleted and registers again, with Home Assistant away: the same
	// entities, none of them a second one.
	t.Run("and comes back", func(t *testing.T) {
		r := startHomely(t, homely(t, nil))
		h := newHouse(t, r.at.MQTT, 5).start()
		d := r.named("http", "balcony")
		d.broadcast(5, []byte(balcony))
		h.has(entities(rest, balconyEntities())...)
		h.stop()
		status, answer := r.call(http.MethodDelete, fmt.Sprintf("/senders/%d", d.id), "", "")
		require.Less(t, status, 300, answer)
		again := r.named("http", "balcony")
		again.broadcast(5, []byte(balcony))
		again.broadcast(5, []byte(`{"m":43}`))
		h.start()
		h.shows("sensor.balcony_moisture", "43")
		h.settled()
		assert.Empty(t, h.has(entities(rest, balconyEntities())...).Errors)
	})
	t.Run("forgotten while the gateway was down, with the channel", func(t *testing.T) {
		cfg := homely(t, nil)
		r := startHomely(t, cfg)
		h := newHouse(t, r.at.MQTT, 5).start()
		d := r.named("http", "balcony")
		d.broadcast(5, []byte(balcony))
		h.has(entities(rest, balconyEntities())...)
		startAgain(t, r, &cfg, func(c *config.Config) {
			c.Channels = map[uint32]config.Channel{7: {Name: "Attic", HomeAssistant: true}}
		})
		h.connected()
		s := h.has(entities(gatewayEntities, channelEntities(7))...)
		assert.Empty(t, s.Errors)
	})
}

func TestDescriptionsWithFaults(t *testing.T) {
	t.Parallel()
	r := startHomely(t, homely(t, nil))
	h := newHouse(t, r.at.MQTT, 5).start()
	rest := entities(gatewayEntities, channelEntities(5))
	h.has(rest...)
	for path, description := range map[string]string{
		"sensors.moisture.unit":                          `{"sensors":{"moisture":{"device_class":"moisture","unit":"kg"}}}`,
		"sensors.moisture.colour":                        `{"sensors":{"moisture":{"colour":"red"}}}`,
		"commands[1]":                                    `{"sensors":{"moisture":{}},"commands":["open","with space"]}`,
		"sensors.m.value: must not use states as a name": `{"sensors":{"m":{"value":"{{ states('lock.door') }}"}}}`,
		"description: has 5024 bytes, the limit":         `{"sensors":{},"name":"` + strings.Repeat("x", 5000) + `"}`,
	} {
		d := r.named("http", "faulty-"+strings.Map(func(c rune) rune {
			if c >= 'a' && c <= 'z' {
				return c
			}
			return -1
		}, path))
		before := r.dropped(viaHTTP, bridge.Malformed)
		d.broadcast(5, []byte(description))
		eventually(t, path+" is counted", func() bool { return r.dropped(viaHTTP, bridge.Malformed) == before+1 })
		eventually(t, path+" is logged", func() bool { return strings.Contains(r.log.String(), `fault="`+path) })
		assert.Equal(t, description, h.event(t).Attributes["text"], "it can be looked at")
	}
	d := r.wire("tcp")
	d.broadcast(5, []byte(balcony))
	eventually(t, "a sender without a name is told of in the log", func() bool { return strings.Contains(r.log.String(), "sender: has no name") })
	right := []string{"sensor.faulty_sensorsmoisturecolour_moisture", "sensor.faulty_commands_moisture", "button.faulty_commands_open"}
	assert.Empty(t, h.has(append(rest, right...)...).Errors, "what is right of a description counts")
}

// Both sides start anew in every way, kill -9 included; the device joins and says nothing.
func TestDescriptionsSurvive(t *testing.T) {
	t.Parallel()
	bothVersions(t, func(t *testing.T, version int) {
		cfg := homely(t, nil)
		r := startHomely(t, cfg)
		h := newHouse(t, r.at.MQTT, version).start()
		d := r.named("http", "balcony")
		d.broadcast(5, []byte(balcony))
		d.broadcast(5, []byte(`{"m":41,"battery":3.7}`))
		all := entities(gatewayEntities, channelEntities(5), balconyEntities())
		h.has(all...)
		moisture, battery := balconyEntities()[0], balconyEntities()[1]
		h.shows(moisture, "41")
		h.kill()
		r.stop()
		r = startHomely(t, cfg)
		h.start()
		h.until("it is away", func(s houseStates) bool { return s.States[moisture].Found && s.States[moisture].State == "unavailable" })
		again := r.named("http", "balcony")
		require.Equal(t, d.id, again.id)
		h.has(all...)
		h.shows(moisture, "41")
		again.broadcast(5, []byte(`{"m":42}`))
		h.shows(moisture, "42")
		assert.Equal(t, "3.7", h.now().States[battery].State, "what was said before the restart counts")
		assert.Empty(t, h.now().Errors)
	})
}
