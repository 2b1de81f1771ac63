package gateway_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/config"
	"watchtower/internal/harness"
)

// Every kind of entity shows what its device says, in whatever way it says it; and the device
// is sent the key and an argument. What it was sent may be said back.
func TestEveryKindBothWays(t *testing.T) {
	t.Parallel()
	kinds := harness.Kinds(t, "../testdata/homeassistant/kinds.json")
	r := startHomely(t, homely(t, nil))
	h := newHouse(t, r.at.MQTT, 5).start()
	d := r.named("mqtt", "d")
	d.broadcast(5, []byte(kinds.Description()))
	h.until("all are there", func(s houseStates) bool {
		return s.States["update.d_firmware"].Found && s.States["button.d_reset"].Found
	})
	for _, k := range kinds {
		t.Run(k.Section+" "+k.Key, func(t *testing.T) {
			for _, s := range k.Sends { // the device has said nothing yet: the house is optimistic
				if !k.Late {
					h.calls(d, k.Entity, s)
				}
			}
			for _, s := range k.Shows {
				d.broadcast(5, fmt.Appendf(nil, `{%q:%s}`, k.Key, s.Says))
				h.until(fmt.Sprintf("%s shows %s and %v after %s", k.Entity, s.State, s.With, s.Says), func(now houseStates) bool {
					return s.Shown(now.States[k.Entity].State, now.States[k.Entity].Attributes)
				})
			}
			before := h.now().States[k.Entity].State
			for i, s := range k.Sends {
				h.calls(d, k.Entity, s)
				if i == 0 {
					assert.Equal(t, before, h.now().States[k.Entity].State, "it waits for the device now")
				}
				d.broadcast(5, k.Echo(s))
			}
			h.until("what was said back is understood", func(s houseStates) bool { return len(k.Sends) == 0 || s.States[k.Entity].State != "unknown" })
			require.Empty(t, h.now().Errors)
		})
	}
}

// calls calls a service, and waits until the device has heard what it is sent.
func (h *house) calls(d *device, entity string, s harness.KindSends) {
	h.t.Helper()
	for len(d.inbox) > 0 {
		<-d.inbox
	}
	h.do(map[string]string{"do": "call", "entity": entity, "service": s.Service, "data": string(s.Data)})
	m := d.next(h.t)
	for !m.sent {
		m = d.next(h.t)
	}
	require.Equal(h.t, s.Heard, m.data)
}

// Events and triggers count once, at once: they are neither gathered nor retained, nor does a
// restart repeat them.
func TestMomentsCountOnce(t *testing.T) {
	t.Parallel()
	r := startHomely(t, homely(t, nil))
	h := newHouse(t, r.at.MQTT, 5).start()
	d := r.named("mqtt", "d")
	d.broadcast(5, []byte(`{"sensors":{"t":{}},"events":{"bell":{"types":["ring","knock"]}},"triggers":{"press":{"types":["short","long"]}},`+
		`"binary_sensors":{"move":{"off_delay":1}}}`))
	h.until("all are there", func(s houseStates) bool { return s.States["sensor.d_t"].Found && s.States["event.d_bell"].Found })
	// until returns what fired up to this, without the channel's own events.
	until := func(last string) (all []string) {
		for len(all) == 0 || all[len(all)-1] != last {
			if e := h.event(t); e.Entity != "event.watchtower_home_channel_5" {
				all = append(all, strings.TrimSuffix(fmt.Sprint(e.Entity, " ", e.Attributes["event_type"]), " <nil>"))
			}
		}
		return all
	}
	eventually(t, "the house listens", func() bool {
		d.broadcast(5, []byte(`{"bell":"knock"}`))
		for len(h.fired) > 0 {
			if (<-h.fired).Entity == "event.d_bell" {
				return true
			}
		}
		return false
	})
	d.broadcast(5, []byte(`{"press":"short"}`))
	until("short press")
	for range 3 {
		d.broadcast(5, []byte(`{"bell":"ring","t":1}`))
	}
	d.broadcast(5, []byte(`{"bell":"bang","press":"nothing"}`)) // neither is listed
	d.broadcast(5, []byte(`{"press":"long"}`))
	assert.Equal(t, []string{"event.d_bell ring", "event.d_bell ring", "event.d_bell ring", "long press"}, until("long press"))
	assert.Contains(t, r.log.String(), "key=events.bell")
	assert.Contains(t, r.log.String(), "key=triggers.press")

	d.broadcast(5, []byte(`{"move":1}`))
	h.shows("binary_sensor.d_move", "on")
	d.broadcast(5, []byte(`{"t":2}`))
	h.shows("binary_sensor.d_move", "off")
	d.broadcast(5, []byte(`{"t":3}`))
	h.shows("sensor.d_t", "3")
	assert.Equal(t, "off", h.now().States["binary_sensor.d_move"].State, "another message does not repeat it")
	assert.JSONEq(t, `{"t":3}`, string(r.g.Retained(fmt.Sprintf("watchtower/homeassistant/home/5/state/%d", d.id))))

	h.restart()
	h.settled()
	h.shows("sensor.d_t", "3")
	assert.Empty(t, h.fired, "a restart repeats nothing")
	assert.Empty(t, h.now().Errors)
}

// The gateway's device has a button that asks devices to describe themselves again.
func TestTheButtonAsksForDescriptions(t *testing.T) {
	t.Parallel()
	r := startHomely(t, homely(t, nil))
	h := newHouse(t, r.at.MQTT, 5).start()
	h.has(entities(gatewayEntities, channelEntities(5))...)
	d := r.named("mqtt", "d")
	h.do(map[string]string{"do": "press", "entity": "button.watchtower_home_describe"})
	m := d.next(t)
	for !m.sent {
		m = d.next(t)
	}
	assert.Equal(t, "describe", m.data)
	h.shows("sensor.watchtower_home_lost", "0")
	assert.Empty(t, h.now().Errors)
}

// A channel becomes a device of its own, and a part of the gateway's again. The house is away or
// connected while that happens.
func TestAChannelIsADeviceOfItsOwn(t *testing.T) {
	t.Parallel()
	cfg := homely(t, nil)
	r := startHomely(t, cfg)
	h := newHouse(t, r.at.MQTT, 5).start()
	h.has(entities(gatewayEntities, channelEntities(5))...)
	own := []string{"event.watering", "sensor.watering_last", "sensor.watering_members", "notify.watering_say"}
	for i, apart := range []bool{true, false, true} {
		if i == 2 {
			h.stop()
		}
		r = startAgain(t, r, &cfg, func(c *config.Config) {
			c.Channels = map[uint32]config.Channel{5: {Name: "Watering", HomeAssistant: true, Device: apart}}
		})
		if i == 2 {
			h.start()
		} else {
			h.connected()
		}
		channel, device := channelEntities(5), "Watchtower home"
		if apart {
			channel, device = own, "Watering"
		}
		s := h.has(entities(gatewayEntities, channel)...)
		assert.Equal(t, device, s.States[channel[1]].Device)
		assert.Equal(t, apart, s.States[channel[1]].Via == "watchtower_home")
		r.stream().broadcast(5, []byte("hello"))
		h.shows(channel[1], "hello")
		assert.Empty(t, h.now().Errors)
	}
}
