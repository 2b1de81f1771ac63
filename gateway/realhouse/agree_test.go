//go:build homeassistant

package realhouse

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/internal/harness/house"
)

// The blueprint's alarm comes when two sensors agree, once, and at nothing else.
func TestAlarmWhenTwoAgree(t *testing.T) {
	p := start(t, watering)
	h := house.Open(t)
	h.Join(p.broker())
	a, b, c := p.device("a"), p.device("b"), p.device("c")
	for _, d := range []*device{a, b, c} {
		d.say(`{"binary_sensors":{"seen":{}}}`)
		d.say(`{"seen":0}`)
	}
	for _, entity := range []string{"binary_sensor.a_seen", "binary_sensor.b_seen", "binary_sensor.c_seen"} {
		h.Shows(entity, "off")
	}
	path := h.Import("http://" + p.http + "/homeassistant/alarm_when_two_agree.yaml")
	within := func(seconds int) {
		t.Helper()
		h.Automate("alarm", map[string]any{"alias": "Alarm", "use_blueprint": map[string]any{"path": path, "input": map[string]any{
			"sensors": []string{"binary_sensor.a_seen", "binary_sensor.b_seen", "binary_sensor.c_seen"}, "within": seconds, "quiet": 0,
			"alarm": []any{map[string]any{
				"action": "notify.send_message", "target": map[string]any{"entity_id": "notify.watchtower_home_channel_5_say"},
				"data": map[string]any{"message": "alarm {{ first[14] }} {{ second[14] }}"},
			}},
		}}})
	}
	set := func(d *device, name, state string) {
		t.Helper()
		d.say(`{"seen":"` + state + `"}`)
		h.Shows("binary_sensor."+name+"_seen", state)
	}
	runs := func(n int) {
		t.Helper()
		h.Until("the automation runs or not", func(s map[string]house.State) bool { return s["automation.alarm"].Attributes["current"] == float64(n) })
	}
	alarm := func(text string) {
		t.Helper()
		a.hears("alarm " + text)
		runs(0)
	}
	silent := func() {
		t.Helper()
		runs(0)
		for _, m := range a.heard() {
			assert.NotContains(t, m.payload, "alarm ")
		}
	}

	within(60)
	set(a, "a", "on")
	set(a, "a", "off")
	set(a, "a", "on")
	set(a, "a", "off")
	runs(1)
	set(b, "b", "on")
	alarm("a b")
	set(c, "c", "on") // while b is still on
	alarm("c b")
	set(b, "b", "off")
	set(c, "c", "off")

	within(1)
	set(a, "a", "on")
	set(a, "a", "off")
	silent()
	set(b, "b", "on") // too late
	set(b, "b", "off")
	silent()
	set(a, "a", "on")
	since := time.Now()
	p.eventually("a is on for long", func() bool { return time.Since(since) > 2*time.Second })
	set(b, "b", "on")
	alarm("a b")
	set(b, "b", "off")

	within(60)
	p.stop() // in good order: else what was said in the last second may be lost
	h.Shows("binary_sensor.a_seen", "unavailable")
	p.start()
	for _, d := range []*device{a, b, c} {
		d.connect()
	}
	h.Shows("binary_sensor.a_seen", "on")
	h.Shows("binary_sensor.b_seen", "off")
	set(a, "a", "off")
	runs(1)
	for _, m := range a.heard() {
		assert.False(t, strings.HasPrefix(m.payload, "alarm "), "an outage is none")
	}
	set(c, "c", "on")
	alarm("a c")
}

// No alarm is missed, whatever the blueprint is doing when the second sensor comes: here as the
// first goes.
func TestNoAlarmIsMissed(t *testing.T) {
	p := start(t, watering)
	h := house.Open(t)
	const first, second = "binary_sensor.first", "binary_sensor.second"
	h.Set(first, "off")
	h.Set(second, "off")
	alarms := h.Subscribe("subscribe_events", map[string]any{"event_type": "alarm"})
	h.Automate("alarm", map[string]any{"alias": "Alarm", "use_blueprint": map[string]any{
		"path": h.Import("http://" + p.http + "/homeassistant/alarm_when_two_agree.yaml"),
		"input": map[string]any{
			"sensors": []string{first, second}, "within": 60, "quiet": 0, "alarm": []any{map[string]any{"event": "alarm"}},
		},
	}})
	runs := func(n int) {
		t.Helper()
		h.Until("the automation runs or not", func(s map[string]house.State) bool { return s["automation.alarm"].Attributes["current"] == float64(n) })
	}
	for range 100 {
		h.Set(first, "on")
		runs(1)
		h.Set(first, "off")
		h.Set(second, "on")
		runs(0)
		require.Len(t, alarms.Take(), 1)
		h.Set(second, "off")
	}
}
