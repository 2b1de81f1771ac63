package homeassistant_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
)

// What nobody else tells people of is an event: a house's refused publishes, and those on an
// announced channel whose client was not told. There is one a second, and no queue without end.
func TestRefusalsAreEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHome(t, "home")
		h.start()
		house, other := h.house("homeassistant"), h.house("cellar")
		h.bus.clients = h.bus.clients[:1] // the other one is no house
		for _, r := range []bridge.Refusal{
			{Topic: "watchtower/channels/5/broadcast", From: house, Told: true},
			{Topic: "lamp/set", From: house, Told: true},
			{Topic: "watchtower/channels/5/send/99", From: other},
			{Topic: "watchtower/channels/5/send/99", From: other, Told: true},
			{Topic: "watchtower/channels/6/send/99", From: other},
			{Topic: "lamp/set", From: other},
		} {
			r.Why = errors.New("because")
			h.bus.refusal(r)
		}
		wait(t, 10)
		events := h.bus.take(only("watchtower/gateways/home/refused"))
		require.Len(t, events, 3)
		for i, want := range []string{"homeassistant watchtower/channels/5/broadcast", "homeassistant lamp/set", "cellar watchtower/channels/5/send/99"} {
			e := attributes(t, events[i])
			assert.Equal(t, want, fmt.Sprint(e["name"], " ", e["topic"]))
			assert.Equal(t, "refused", e["event_type"])
			assert.Equal(t, "because", e["reason"])
			assert.NotContains(t, e, "untold")
			assert.Equal(t, "own", events[i].kind, "it is not retained")
		}
		assert.Equal(t, time.Second, events[2].after-events[1].after)

		for range 100 {
			h.bus.refusal(bridge.Refusal{Topic: "lamp/set", From: house, Why: errors.New("because")})
		}
		wait(t, 60)
		events = h.bus.take(only("watchtower/gateways/home/refused"))
		assert.Less(t, len(events), 20)
		told := len(events)
		for _, e := range events {
			n, _ := attributes(t, e)["untold"].(float64)
			told += int(n)
		}
		assert.Equal(t, 100, told)

		h.birthOf(house) // and then its connection ends; it repeats what it said as soon as it is back
		house.away.Store(true)
		h.bus.refusal(bridge.Refusal{Topic: "lamp/set", From: house, Why: errors.New("because"), Told: true})
		wait(t, 5)
		assert.Empty(t, h.bus.take(only("watchtower/gateways/home/refused")), "nobody listens")
		house.away.Store(false)
		wait(t, 2)
		assert.Len(t, h.bus.take(only("watchtower/gateways/home/refused")), 1)
		h.stop()
	})
}

func attributes(t *testing.T, p published) (a map[string]any) {
	t.Helper()
	require.NoError(t, json.Unmarshal([]byte(p.payload), &a))
	return a
}
