//go:build homeassistant

package realhouse

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"watchtower/internal/harness"
	"watchtower/internal/harness/house"
)

// Every kind of entity shows what its device says, and the device is sent what it is told to.
func TestEveryKindBothWays(t *testing.T) {
	kinds := harness.Kinds(t, "../../testdata/homeassistant/kinds.json")
	p := start(t, watering)
	h := house.Open(t)
	h.Join(p.broker())
	d := p.device("d")
	d.say(kinds.Description())
	h.Until("all are there", func(s map[string]house.State) bool {
		for _, k := range kinds {
			if _, there := s[k.Entity]; !there {
				return false
			}
		}
		return s["button.d_reset"].State != ""
	})
	calls := func(k harness.Kind, s harness.KindSends) {
		var data map[string]any
		require.NoError(t, json.Unmarshal(s.Data, &data))
		h.Call(strings.Split(k.Entity, ".")[0]+"."+s.Service, k.Entity, data)
		d.hears(s.Heard)
	}
	for _, k := range kinds {
		for _, s := range k.Sends { // the device has said nothing yet: Home Assistant is optimistic
			if !k.Late {
				calls(k, s)
			}
		}
		for _, s := range k.Shows {
			d.say(fmt.Sprintf(`{%q:%s}`, k.Key, s.Says))
			h.Until(fmt.Sprintf("%s shows %s and %v after %s", k.Entity, s.State, s.With, s.Says), func(now map[string]house.State) bool {
				return s.Shown(now[k.Entity].State, now[k.Entity].Attributes)
			})
		}
		for _, s := range k.Sends {
			calls(k, s)
			d.say(string(k.Echo(s)))
		}
		h.Until(k.Entity+" understands what was said back", func(now map[string]house.State) bool {
			return len(k.Sends) == 0 || now[k.Entity].State != "unknown"
		})
	}
	h.Call("button.press", "button.d_reset", nil)
	d.hears("reset")
	h.Call("button.press", "button.watchtower_home_describe", nil)
	d.hears("describe")
}

// Events and triggers fire automations once a message; and so does the channel's event by the
// trigger that docs/home-assistant-reference.md has, with the message's fields.
func TestEventsAndTriggers(t *testing.T) {
	p := start(t, watering)
	h := house.Open(t)
	h.Join(p.broker())
	d := p.device("d")
	d.say(`{"events":{"bell":{"types":["ring","knock"],"device_class":"doorbell"}},"triggers":{"press":{"types":["short","long"]}},"sensors":{"m":{}}}`)
	h.Shows("event.d_bell", "unknown")
	var offered []map[string]any
	h.Until("its triggers are offered", func(map[string]house.State) bool {
		offered = nil
		all := h.Ask("device_automation/trigger/list", map[string]any{"device_id": h.Devices()["d"].ID})
		var list []map[string]any
		require.NoError(t, json.Unmarshal(all, &list))
		for _, trigger := range list {
			if trigger["domain"] == "mqtt" {
				offered = append(offered, trigger)
			}
		}
		return len(offered) == 2
	})
	delete(offered[0], "metadata")
	pressed := h.Subscribe("subscribe_trigger", map[string]any{"trigger": offered[0], "variables": map[string]any{}})
	said := h.Subscribe("subscribe_trigger", map[string]any{"trigger": map[string]any{
		"trigger": "event.received", "target": map[string]any{"entity_id": "event.watchtower_home_channel_5"}, "options": map[string]any{"event_type": []string{"message"}},
	}})
	d.say(`{"bell":"ring"}`)
	h.Until("the bell rings", func(s map[string]house.State) bool { return s["event.d_bell"].Attributes["event_type"] == "ring" })
	d.say(fmt.Sprintf(`{"press":%q}`, offered[0]["type"]))
	d.say(`{"bell":"bang","press":"nothing"}`)
	d.say(`{"m":7}`)
	h.Shows("sensor.d_m", "7")
	var events []string
	h.Until("the channel's messages fire", func(map[string]house.State) bool {
		for _, e := range said.Take() {
			events = append(events, string(e))
		}
		return len(events) == 4
	})
	require.Contains(t, events[3], `"m":7`)
	require.Contains(t, events[3], `"to_state"`)
	require.Len(t, pressed.Take(), 1)
	h.Restart()
	h.Shows("sensor.d_m", "7")
	require.Equal(t, "ring", h.State("event.d_bell").Attributes["event_type"], "a restart repeats nothing")
}
