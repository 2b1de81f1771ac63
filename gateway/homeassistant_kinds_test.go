package gateway_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// shows is what an entity shows after its device has said something.
type shows struct {
	says  string // the value, as JSON
	state string
	with  map[string]any // attributes
}

// sends is what a device is sent when a service is called.
type sends struct {
	service string
	data    string // as JSON
	heard   []string
}

// kindTest is one kind of entity, both ways.
type kindTest struct {
	section, key, options, entity string

	shows []shows
	sends []sends
}

var onAndOff = []shows{
	{`1`, "on", nil}, {`0`, "off", nil}, {`true`, "on", nil}, {`false`, "off", nil}, {`"on"`, "on", nil}, {`"OFF"`, "off", nil},
	{`"On "`, "on", nil}, {`null`, "unknown", nil}, {`"off"`, "off", nil}, {`"what"`, "unknown", nil}, {`{"a":1}`, "unknown", nil},
}

func with(pairs ...any) map[string]any {
	all := map[string]any{}
	for i := 0; i < len(pairs); i += 2 {
		all[pairs[i].(string)] = pairs[i+1]
	}
	return all
}

func color(r, g, b float64) map[string]any { return with("rgb_color", []any{r, g, b}) }

var kindTests = []kindTest{
	{section: "sensors", key: "wet", options: `{"options":["wet","it's {{ dry }}","3"]}`, entity: "sensor.d_wet", shows: []shows{
		{`"wet"`, "wet", nil}, {`"it's {{ dry }}"`, "it's {{ dry }}", nil}, {`3`, "3", nil}, {`null`, "unknown", nil}, {`"wet"`, "wet", nil}, {`"damp"`, "unknown", nil},
	}},
	{section: "sensors", key: "temp", options: `{"unit":"°C","device_class":"temperature","precision":1,"force":true}`, entity: "sensor.d_temp", shows: []shows{
		{`21.5`, "21.5", nil}, {`"22.5"`, "22.5", nil}, {`"3,5"`, "unknown", nil}, {`-4`, "-4", nil}, {`true`, "unknown", nil}, {`0`, "0", nil}, {`null`, "unknown", nil},
	}},
	{section: "sensors", key: "began", options: `{"device_class":"timestamp"}`, entity: "sensor.d_began", shows: []shows{
		{`"2026-12-01T06:30:00+01:00"`, "2026-12-01T06:30:00+01:00", nil}, {`"2026-12-01T06:30:00"`, "unknown", nil}, {`0`, "1970-01-01T00:00:00+00:00", nil}, {`"soon"`, "unknown", nil},
	}},
	{section: "sensors", key: "day", options: `{"device_class":"date"}`, entity: "sensor.d_day", shows: []shows{
		{`"2026-12-01"`, "2026-12-01", nil}, {`"never"`, "unknown", nil},
	}},
	{section: "sensors", key: "note", options: `{}`, entity: "sensor.d_note", shows: []shows{
		{`"` + strings.Repeat("ä", 300) + `"`, strings.Repeat("ä", 255), nil}, {`null`, "unknown", nil}, {`true`, "True", nil},
	}},
	{section: "binary_sensors", key: "door", options: `{"device_class":"door"}`, entity: "binary_sensor.d_door", shows: onAndOff},
	{section: "binary_sensors", key: "lid", options: `{"on":"0","off":"Zu"}`, entity: "binary_sensor.d_lid", shows: []shows{
		{`0`, "on", nil}, {`"ZU"`, "off", nil}, {`"0"`, "on", nil}, {`1`, "unknown", nil}, {`"zu"`, "off", nil}, {`"off"`, "unknown", nil},
	}},
	{section: "switches", key: "pump", options: `{"icon":"mdi:water-pump"}`, entity: "switch.d_pump", shows: onAndOff, sends: []sends{
		{"turn_on", `{}`, []string{"pump on"}}, {"turn_off", `{}`, []string{"pump off"}},
	}},
	{section: "switches", key: "fence", options: `{"on":"Hot wire","off":"cold"}`, entity: "switch.d_fence", shows: []shows{
		{`"Hot wire"`, "on", nil}, {`"cold"`, "off", nil}, {`1`, "on", nil},
	}, sends: []sends{{"turn_on", `{}`, []string{"fence Hot wire"}}, {"turn_off", `{}`, []string{"fence cold"}}}},
	{section: "numbers", key: "target", options: `{"min":5,"max":30,"step":0.5,"unit":"°C","device_class":"temperature","category":"config"}`, entity: "number.d_target", shows: []shows{
		{`21.5`, "21.5", nil}, {`"22.5"`, "22.5", nil}, {`31`, "unknown", nil}, {`8`, "8", nil}, {`"warm"`, "unknown", nil}, {`30`, "30", nil}, {`null`, "unknown", nil},
	}, sends: []sends{{"set_value", `{"value":22.5}`, []string{"target 22.5"}}, {"set_value", `{"value":8.0}`, []string{"target 8"}}}},
	{section: "selects", key: "mode", options: `{"options":["away mode","home","3"]}`, entity: "select.d_mode", shows: []shows{
		{`"away mode"`, "away mode", nil}, {`3`, "3", nil}, {`"else"`, "unknown", nil}, {`"home"`, "home", nil}, {`null`, "unknown", nil},
	}, sends: []sends{{"select_option", `{"option":"away mode"}`, []string{"mode away mode"}}}},
	{section: "texts", key: "label", options: `{"max":10}`, entity: "text.d_label", shows: []shows{
		{`"good day"`, "good day", nil}, {`"` + strings.Repeat("x", 20) + `"`, strings.Repeat("x", 10), nil}, {`7`, "7", nil},
	}, sends: []sends{{"set_value", `{"value":"good day"}`, []string{"label good day"}}, {"set_value", `{"value":"{{ 1 }}"}`, []string{"label {{ 1 }}"}}}},
	{section: "lights", key: "lamp", options: `{}`, entity: "light.d_lamp", shows: onAndOff, sends: []sends{
		{"turn_on", `{}`, []string{"lamp on"}}, {"turn_off", `{}`, []string{"lamp off"}},
	}},
	{section: "lights", key: "dim", options: `{"brightness":true}`, entity: "light.d_dim", shows: []shows{
		{`200`, "on", with("brightness", 200.0)}, {`"off"`, "off", nil}, {`"on"`, "on", with("brightness", 200.0)}, {`"128"`, "on", with("brightness", 128.0)},
		{`0`, "off", nil}, {`999`, "on", with("brightness", 255.0)}, {`"what"`, "unknown", nil}, {`true`, "on", nil}, {`null`, "unknown", nil},
	}, sends: []sends{{"turn_on", `{}`, []string{"dim on"}}, {"turn_on", `{"brightness":200}`, []string{"dim 200"}}, {"turn_off", `{}`, []string{"dim off"}}}},
	{section: "lights", key: "glow", options: `{"color":true}`, entity: "light.d_glow", shows: []shows{
		{`"128 #ff8000"`, "on", with("brightness", 128.0, "rgb_color", []any{255.0, 128.0, 0.0})}, {`"on #00FF00"`, "on", color(0, 255, 0)},
		{`"#0000ff"`, "on", color(0, 0, 255)}, {`"0 #00ff00"`, "off", nil}, {`"off"`, "off", nil}, {`77`, "on", with("brightness", 77.0)}, {`"on #zz"`, "on", nil},
	}, sends: []sends{
		{"turn_on", `{"rgb_color":[0,255,0]}`, []string{"glow on #00ff00"}}, {"turn_on", `{"brightness":200,"rgb_color":[0,255,0]}`, []string{"glow 200 #00ff00"}},
		{"turn_on", `{}`, []string{"glow on"}}, {"turn_off", `{}`, []string{"glow off"}},
	}},
	{section: "covers", key: "shade", options: `{"device_class":"shade"}`, entity: "cover.d_shade", shows: []shows{
		{`"open"`, "open", nil}, {`"closed"`, "closed", nil}, {`"opening"`, "opening", nil}, {`"stopped"`, "open", nil}, {`"close"`, "closed", nil}, {`"stop"`, "closed", nil},
		{`"closing"`, "closing", nil}, {`"what"`, "unknown", nil}, {`"Open"`, "open", nil}, {`null`, "unknown", nil},
	}, sends: []sends{{"open_cover", `{}`, []string{"shade open"}}, {"close_cover", `{}`, []string{"shade close"}}, {"stop_cover", `{}`, []string{"shade stop"}}}},
	{section: "covers", key: "blind", options: `{"position":true}`, entity: "cover.d_blind", shows: []shows{
		{`40`, "open", with("current_position", 40.0)}, {`"0"`, "closed", with("current_position", 0.0)}, {`"opening"`, "opening", with("current_position", 0.0)},
		{`"stopped"`, "closed", nil}, {`"open"`, "open", with("current_position", 100.0)}, {`"close"`, "closed", with("current_position", 0.0)}, {`null`, "unknown", nil},
	}, sends: []sends{
		{"set_cover_position", `{"position":40}`, []string{"blind 40"}}, {"open_cover", `{}`, []string{"blind open"}}, {"stop_cover", `{}`, []string{"blind stop"}},
	}},
	{section: "valves", key: "tap", options: `{"device_class":"water"}`, entity: "valve.d_tap", shows: []shows{
		{`"open"`, "open", nil}, {`"close"`, "closed", nil}, {`"opening"`, "opening", nil}, {`"what"`, "unknown", nil}, {`"closed"`, "closed", nil},
	}, sends: []sends{{"open_valve", `{}`, []string{"tap open"}}, {"close_valve", `{}`, []string{"tap close"}}}},
	{section: "valves", key: "mixer", options: `{"position":true}`, entity: "valve.d_mixer", shows: []shows{
		{`40`, "open", with("current_position", 40.0)}, {`"0"`, "closed", with("current_position", 0.0)}, {`"closing"`, "closing", nil}, {`"open"`, "open", with("current_position", 100.0)},
	}, sends: []sends{{"set_valve_position", `{"position":40}`, []string{"mixer 40"}}, {"open_valve", `{}`, []string{"mixer 100"}}, {"close_valve", `{}`, []string{"mixer 0"}}}},
	{section: "locks", key: "gate", options: `{}`, entity: "lock.d_gate", shows: []shows{
		{`"locked"`, "locked", nil}, {`"unlock"`, "unlocked", nil}, {`"locking"`, "locking", nil}, {`"jammed"`, "jammed", nil}, {`"lock"`, "locked", nil}, {`null`, "unknown", nil},
	}, sends: []sends{{"lock", `{}`, []string{"gate lock"}}, {"unlock", `{}`, []string{"gate unlock"}}}},
	{section: "fans", key: "air", options: `{}`, entity: "fan.d_air", shows: onAndOff, sends: []sends{{"turn_on", `{}`, []string{"air on"}}, {"turn_off", `{}`, []string{"air off"}}}},
	{section: "fans", key: "draft", options: `{"speed":true}`, entity: "fan.d_draft", shows: []shows{
		{`60`, "on", with("percentage", 60.0)}, {`0`, "off", nil}, {`"on"`, "on", nil}, {`"off"`, "off", nil}, {`"35"`, "on", with("percentage", 35.0)}, {`null`, "unknown", nil},
	}, sends: []sends{{"set_percentage", `{"percentage":60}`, []string{"draft 60"}}, {"turn_off", `{}`, []string{"draft off"}}}},
	{section: "update", key: "firmware", options: `{"title":"Pump OS","device_class":"firmware"}`, entity: "update.d_firmware", shows: []shows{
		{`{"installed":"1.0","latest":"1.1"}`, "on", with("installed_version", "1.0", "latest_version", "1.1")}, {`"install"`, "on", with("in_progress", true)},
		{`{"installed":1.1}`, "off", with("installed_version", "1.1", "in_progress", false)}, {`{"latest":"1.2"}`, "on", nil}, {`"1.2"`, "off", nil}, {`{}`, "off", nil}, {`null`, "off", nil},
	}, sends: []sends{{"install", `{}`, []string{"firmware install"}}}},
}

// describeAll is a description with an entity of each kind test, and of the kinds that have
// no state.
func describeAll(t *testing.T) string {
	sections := map[string]map[string]json.RawMessage{
		"buttons": {"reset": json.RawMessage(`{"device_class":"restart"}`)},
		"events":  {"bell": json.RawMessage(`{"types":["ring","knock"],"device_class":"doorbell"}`)}, "triggers": {"press": json.RawMessage(`{"types":["short","long"]}`)},
	}
	for _, k := range kindTests {
		if sections[k.section] == nil {
			sections[k.section] = map[string]json.RawMessage{}
		}
		sections[k.section][k.key] = json.RawMessage(k.options)
	}
	b, err := json.Marshal(sections)
	require.NoError(t, err)
	return string(b)
}

// Every kind of entity shows what its device says, in whatever way it says it; and the device
// is sent the key and an argument. What it was sent may be said back.
func TestEveryKindBothWays(t *testing.T) {
	t.Parallel()
	r := startHomely(t, homely(t, nil))
	h := newHouse(t, r.at.MQTT, 5).start()
	d := r.named("mqtt", "d")
	d.broadcast(5, []byte(describeAll(t)))
	h.until("all are there", func(s houseStates) bool {
		return s.States["update.d_firmware"].Found && s.States["button.d_reset"].Found
	})
	for _, k := range kindTests {
		t.Run(k.section+" "+k.key, func(t *testing.T) {
			for _, s := range k.sends { // the device has said nothing yet: the house is optimistic
				h.calls(d, k.entity, s)
			}
			for _, s := range k.shows {
				d.broadcast(5, fmt.Appendf(nil, `{%q:%s}`, k.key, s.says))
				e := h.shows(k.entity, s.state)
				for name, want := range s.with {
					h.until(fmt.Sprintf("%s has the %s %v after %s, not %v", k.entity, name, want, s.says, e.Attributes), func(now houseStates) bool {
						return assert.ObjectsAreEqual(want, now.States[k.entity].Attributes[name])
					})
				}
			}
			before := h.now().States[k.entity].State
			for i, s := range k.sends {
				h.calls(d, k.entity, s)
				if i == 0 {
					assert.Equal(t, before, h.now().States[k.entity].State, "it waits for the device now")
				}
				echo, _ := strings.CutPrefix(s.heard[0], k.key+" ")
				d.broadcast(5, fmt.Appendf(nil, `{%q:%q}`, k.key, echo))
			}
			h.until("what was said back is understood", func(s houseStates) bool { return len(k.sends) == 0 || s.States[k.entity].State != "unknown" })
			require.Empty(t, h.now().Errors)
		})
	}
}

// calls calls a service, and waits until the device has heard it.
func (h *house) calls(d *device, entity string, s sends) {
	h.t.Helper()
	for len(d.inbox) > 0 {
		<-d.inbox
	}
	h.do(map[string]string{"do": "call", "entity": entity, "service": s.service, "data": s.data})
	for _, want := range s.heard {
		m := d.next(h.t)
		for !m.sent {
			m = d.next(h.t)
		}
		require.Equal(h.t, want, m.data)
	}
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
