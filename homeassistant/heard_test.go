package homeassistant_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
)

const balconyTopic = "homeassistant/device/watchtower_home_balcony/config"

// told returns the newest components of the balcony's discovery.
func (h *home) told() map[string]map[string]any {
	h.t.Helper()
	var d struct{ Components map[string]map[string]any }
	require.NoError(h.t, json.Unmarshal(h.bus.Retained(balconyTopic), &d))
	return d.Components
}

// Home Assistant waits for a key once the device has said it: also after a restart, and after
// the description has changed.
func TestHomeAssistantWaitsForWhatWasSaidOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHome(t, "home")
		h.start()
		_, say := h.sender("balcony")
		say(`{"switches":{"pump":{},"fence":{}}}`)
		wait(t, 5)
		assert.NotContains(t, h.told()["switch_pump"], "state_topic")
		say(`{"pump":"on"}`)
		wait(t, 5)
		assert.Contains(t, h.told()["switch_pump"], "state_topic")
		assert.NotContains(t, h.told()["switch_fence"], "state_topic")
		h.stop()
		h.start()
		wait(t, 5)
		assert.Contains(t, h.told()["switch_pump"], "state_topic")
		assert.NotContains(t, h.told()["switch_fence"], "state_topic")
		say(`{"switches":{"pump":{"name":"The pump"}},"lights":{"fence":{}}}`)
		wait(t, 5)
		assert.Equal(t, "The pump", h.told()["switch_pump"]["name"])
		assert.Contains(t, h.told()["switch_pump"], "state_topic")
		assert.NotContains(t, h.told()["light_fence"], "state_topic")
		h.stop()
	})
}

// Faults come back to the sender each time, from the gateway's own sender; the rest counts.
func TestFaultsComeBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHome(t, "home")
		h.start()
		_, say := h.sender("balcony")
		for range 2 {
			say(`{"sensors":{"m":{},"n":{"unit":5}},"odd":1}`)
			wait(t, 5)
			assert.Equal(t, []string{"watchtower-home: odd: unknown key\nsensors.n.unit: must be text of 1 to 16 printable characters"}, h.bus.takeSent())
			assert.Contains(t, h.told(), "sensor_m")
			assert.NotContains(t, h.told(), "sensor_n")
		}
		say(`{"sensors":{"M":{}}}`)
		wait(t, 5)
		assert.Equal(t, []string{"watchtower-home: sensors.M: the key must be 1 to 32 of a–z 0–9 _"}, h.bus.takeSent())
		assert.Contains(t, h.told(), "sensor_m", "nothing of it was right, so the device stays as it was")
		assert.Equal(t, uint64(3), h.hub.Counters().Dropped(viaUDP, bridge.Malformed))
		say(`{"sensors":{"m":{}}}`)
		wait(t, 5)
		assert.Empty(t, h.bus.takeSent())
		h.stop()
		_, there := h.hub.Receiver("watchtower-home")
		assert.NotNil(t, there, "the gateway's own sender is gone")
	})
}

// A description comes in parts, in any order; if one is missing for a minute, its sender is
// told.
func TestPartsOfADescription(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHome(t, "home")
		h.start()
		id, say := h.sender("balcony")
		say(`{"part":[3,3],"commands":["open"]}`)
		say(`{"part":[1,3],"name":"Balcony","sensors":{"m":{}}}`)
		say(`{"part":[1,3],"name":"Balcony","sensors":{"m":{}}}`)
		wait(t, 5)
		assert.Nil(t, h.bus.Retained(balconyTopic))
		say(`{"part":[2,3],"lights":{"lamp":{}}}`)
		wait(t, 5)
		assert.Len(t, h.told(), 3)
		h.bus.take(only(""))
		for _, part := range []string{`{"part":[1,3],"name":"Balcony","sensors":{"m":{}}}`, `{"part":[2,3],"lights":{"lamp":{}}}`, `{"part":[3,3],"commands":["open"]}`} {
			say(part)
		}
		wait(t, 5)
		assert.Empty(t, h.bus.take(isDiscovery), "the same again changes nothing")
		h.stop()
		h.start()
		wait(t, 5)
		assert.Len(t, h.told(), 3, "it is remembered")

		say(`{"part":[1,2],"sensors":{"n":{}}}`)
		wait(t, 61)
		say(`{"n":1}`)
		wait(t, 5)
		assert.Equal(t, []string{"watchtower-home: part: 1 of 2 came within a minute"}, h.bus.takeSent())
		say(`{"part":[2,2],"sensors":{"n":{}}}`)
		say(`{"part":[1,1],"sensors":{"n":{}}}`)
		wait(t, 5)
		assert.Len(t, h.told(), 1, "one part of one is whole")
		_ = id
		h.stop()
	})
}

// A number that cannot be read is counted each time, and everything else goes on.
func TestOddValuesAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHome(t, "home")
		h.start()
		id, say := h.sender("balcony")
		say(`{"sensors":{"temp":{"unit":"°C"},"note":{},"wet":{"options":["a"]}},"numbers":{"n":{}}}`)
		wait(t, 2)
		for i, text := range []string{`{"temp":"3,5"}`, `{"temp":nan,"note":"x"}`, `{"temp":true}`, `{"wet":"b"}`, `{"n":101}`, `{"n":"x"}`} {
			say(text)
			wait(t, 2)
			assert.Equal(t, uint64(i+1), h.hub.Counters().Dropped(viaUDP, bridge.Malformed), text)
		}
		for _, text := range []string{`{"temp":"3.5"}`, `{"temp":null}`, `{"note":"3,5"}`, `{"wet":"a"}`, `{"n":"100"}`} {
			say(text)
		}
		wait(t, 2)
		assert.Equal(t, uint64(6), h.hub.Counters().Dropped(viaUDP, bridge.Malformed))
		assert.JSONEq(t, `{"temp":null,"note":"3,5","wet":"a","n":"100"}`, string(h.bus.Retained(fmt.Sprintf("watchtower/homeassistant/home/5/state/%d", id))))
		h.stop()
	})
}

// The button asks every member with a name, also those that are no devices, and nobody twice a
// second.
func TestDevicesAreAskedToDescribeThemselves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHome(t, "home")
		h.start()
		h.sender("balcony")
		h.sender("well")
		for range 100 {
			h.bus.asked("homeassistant/watchtower_home/describe", []byte("describe"), nil)
		}
		wait(t, 5)
		assert.Equal(t, []string{"watchtower-home: describe", "watchtower-home: describe"}, h.bus.takeSent()[:2])
		h.stop()
	})
}
