package homeassistant_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
	"watchtower/homeassistant"
)

// wait lets seconds pass.
func wait(t *testing.T, seconds int) {
	t.Helper()
	time.Sleep(time.Duration(seconds) * time.Second) // synctest's time
	synctest.Wait()
}

// shown are the components of each payload; a removal has a minus, and no
// payload is "-".
func shown(t *testing.T, all []published) (steps []string) {
	for _, p := range all {
		if p.payload == "" {
			steps = append(steps, "-")
			continue
		}
		var d struct{ Components map[string]map[string]any }
		require.NoError(t, json.Unmarshal([]byte(p.payload), &d))
		n, gone := 0, 0
		for _, c := range d.Components {
			if len(c) == 1 {
				gone++
			} else {
				n++
			}
		}
		steps = append(steps, fmt.Sprintf("%d-%d", n, gone))
	}
	return steps
}

func only(topic string) func(string) bool { return func(t string) bool { return t == topic } }

const gatewayTopic = "homeassistant/device/watchtower_home/config"

// A component goes in two steps, two seconds apart; and again in three at the
// next birth, for a Home Assistant that was away.
func TestTheStepsOfARemoval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHome(t, "home")
		h.options.Channels[6] = "Door"
		h.start()
		assert.Equal(t, []string{"15-0"}, shown(t, h.bus.take(only(gatewayTopic))))
		h.stop()
		delete(h.options.Channels, 6)
		h.start()
		wait(t, 10)
		steps := h.bus.take(only(gatewayTopic))
		assert.Equal(t, []string{"11-4", "11-0"}, shown(t, steps))
		assert.Equal(t, 2*time.Second, steps[1].after-steps[0].after)

		h.stop() // and killed before a birth
		h.start()
		wait(t, 10)
		assert.Equal(t, []string{"11-0"}, shown(t, h.bus.take(only(gatewayTopic))))
		h.birth()
		wait(t, 30)
		steps = h.bus.take(only(gatewayTopic))
		assert.Equal(t, []string{"15-0", "11-4", "11-0"}, shown(t, steps))
		assert.Equal(t, 2*time.Second, steps[1].after-steps[0].after)
		h.birth()
		wait(t, 30)
		assert.Equal(t, []string{"11-0"}, shown(t, h.bus.take(only(gatewayTopic))), "once is enough")

		h.stop()
		h.options.Channels = nil
		h.start()
		wait(t, 10)
		assert.Equal(t, []string{"-"}, shown(t, h.bus.take(only(gatewayTopic))))
		h.birth()
		wait(t, 30)
		assert.Equal(t, []string{"11-0", "-"}, shown(t, h.bus.take(only(gatewayTopic))))
		h.stop()
	})
}

// A channel that is announced again before a birth is no ghost.
func TestWhatComesBackIsNoGhost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHome(t, "home")
		h.start()
		h.stop()
		channels := h.options.Channels
		h.options.Channels = nil
		h.start()
		h.stop()
		h.options.Channels = channels
		h.start()
		wait(t, 10)
		h.bus.take(only(gatewayTopic))
		h.birth()
		wait(t, 30)
		assert.Equal(t, []string{"11-0"}, shown(t, h.bus.take(only(gatewayTopic))))
		h.stop()
	})
}

// A hundred births are answered at once, after a wait; discovery comes before
// availability, and that before states.
func TestBirthsAreAnsweredTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHome(t, "home")
		h.start()
		h.bus.retained["watchtower/gateways/home/status"] = []byte("online")
		_, say := h.sender("kitchen")
		say("x")
		wait(t, 5)
		h.bus.take(only(""))
		for range 100 {
			h.birth()
			synctest.Wait()
		}
		wait(t, 60)
		all := h.bus.take(func(string) bool { return true })
		h.stop()
		require.Len(t, all, 4)
		assert.Equal(t, gatewayTopic, all[0].topic)
		assert.Equal(t, published{all[1].after, "watchtower/gateways/home/status", "online", "to homeassistant"}, all[1])
		assert.Equal(t, published{all[2].after, "watchtower/members/5/home", "", "to homeassistant"}, all[2], "nobody")
		assert.Equal(t, "watchtower/homeassistant/home/5/last", all[3].topic)
		assert.Equal(t, "to homeassistant", all[3].kind)
	})
}

// The last message is written once a second, and the newest wins; an event is
// never held back, and never retained.
func TestTheLastMessageIsWrittenOnceASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHome(t, "home")
		h.start()
		_, say := h.sender("kitchen")
		for i := range 1000 {
			say(fmt.Sprint(i))
			time.Sleep(10 * time.Millisecond)
		}
		wait(t, 5)
		h.stop()
		last, events := 0, 0
		var newest string
		for _, p := range h.bus.take(func(string) bool { return true }) {
			switch {
			case strings.HasSuffix(p.topic, "/last"):
				last++
				newest = p.payload
			case strings.HasSuffix(p.topic, "/event"):
				events++
				assert.Equal(t, "own", p.kind)
			}
		}
		assert.Equal(t, 1000, events)
		assert.LessOrEqual(t, last, 12)
		assert.Contains(t, newest, `"state":"999"`)
	})
}

// A publisher never waits, and what is not mirrored is counted.
func TestAFullQueueIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHome(t, "home")
		h.options.Queue = 3
		_, say := h.sender("kitchen")
		h.options.Channels = map[bridge.Channel]string{5: "Watering"}
		_, err := homeassistant.New(h.hub, h.bus, h.memory, h.options, nil) // nobody serves
		require.NoError(t, err)
		for range 10 {
			say("x")
		}
		assert.Equal(t, uint64(7), h.hub.Counters().Dropped(viaMQTT, bridge.LinkFull))
	})
}

// What a device says is gathered, within bounds.
func TestGathering(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHome(t, "home")
		h.start()
		id, say := h.sender("balcony")
		say(`{"sensors":{"a":{}}}`)
		wait(t, 2)
		topic := fmt.Sprintf("watchtower/homeassistant/home/5/state/%d", id)
		state := func(text string) string {
			say(text)
			wait(t, 2)
			return string(h.bus.Retained(topic))
		}
		assert.Equal(t, `{"a":1}`, state(`{"a":1}`))
		assert.Equal(t, `{"a":1,"b":2.50}`, state(`{"b":2.50}`))
		assert.Equal(t, `{"a":1,"b":2.50}`, state(`plain`), "nobody reads it, and what was gathered stays")
		say(`{"sensors":{"a":{"value":"{{ value_json.a }}"},"w":{"value":"{{ value }}"}}}`)
		wait(t, 2)
		h.bus.take(only(""))
		assert.Equal(t, `{"a":1,"b":2.50}`, state(`plain`), "nor where somebody reads it")
		assert.Empty(t, h.bus.take(only(topic)))
		text := strings.Replace(topic, "/state/", "/text/", 1)
		assert.Equal(t, "plain", string(h.bus.Retained(text)), "who hears it on a topic of its own")
		assert.Equal(t, `{"a":1,"b":2.50}`, state(`{"sensors":{"a":{"unit":5}}}`), "a description with a fault is no state")
		assert.Equal(t, `{"a":1,"b":2.50,"c":"<&>"}`, state(`{"c":"<&>"}`))
		assert.Equal(t, `{"a":1,"b":2.50,"c":"<&>"}`, state("\xff\xfe"), "no text, no state")
		assert.Equal(t, `{"a":1,"b":2.50,"c":"<&>"}`, state(""))
		many := map[string]int{}
		for i := range 64 {
			many[fmt.Sprint("k", i)] = i
		}
		b, err := json.Marshal(many)
		require.NoError(t, err)
		anew := func(text string) string { return strings.Replace(state(text), `"a":null,`, "", 1) } // a sensor reads a
		assert.Equal(t, string(b), anew(string(b)), "over 64 keys it begins anew")
		assert.Equal(t, `{"a":5}`, state(`{"a":5}`))
		large := `{"b":"` + strings.Repeat("x", 8180) + `"}`
		assert.Equal(t, large, anew(large), "and over 8 KiB")
		h.stop()
	})
}

// A device that changes its description each second does not fill the memory.
func TestGhostsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHome(t, "home")
		h.start()
		_, say := h.sender("balcony")
		for i := range 60 {
			sensors := map[string]any{}
			for k := range 20 {
				sensors[fmt.Sprintf("s%d_%d", i, k)] = struct{}{}
			}
			b, err := json.Marshal(map[string]any{"sensors": sensors})
			require.NoError(t, err)
			say(string(b))
			wait(t, 5)
		}
		assert.Less(t, len(h.memory.document), 200_000)
		h.bus.take(only(""))
		h.birth()
		wait(t, 30)
		const topic = "homeassistant/device/watchtower_home_balcony/config"
		steps := shown(t, h.bus.take(only(topic)))
		require.Len(t, steps, 3)
		assert.Equal(t, "20-0", steps[2])
		h.stop()
	})
}

// A memory that cannot be read does not keep the gateway from starting.
func TestADamagedMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHome(t, "home")
		for _, damaged := range []string{"{", "null", "{}", `{"topics":null}`, `{"topics":5}`} {
			h.memory.document = []byte(damaged)
			h.start()
			assert.Equal(t, []string{"11-0"}, shown(t, h.bus.take(only(gatewayTopic))), damaged)
			h.stop()
		}
	})
}

// Without channels and memory nothing is written, and nothing is tapped.
func TestNobodyAsks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHome(t, "home")
		h.options.Channels = nil
		h.start()
		_, say := h.sender("kitchen")
		say("x")
		h.birth()
		wait(t, 60)
		h.stop()
		assert.Nil(t, h.memory.document)
		assert.Empty(t, h.bus.take(func(string) bool { return true }))
	})
}

// After the gateway's start, a state that is not wanted any more stays until the birth
// message is answered: Home Assistant still reads it, because it missed the removal.
func TestLeftoversWaitForTheBirth(t *testing.T) {
	for _, born := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			h := newHome(t, "home")
			h.start()
			id, say := h.sender("balcony")
			say(`{"sensors":{"m":{}}}`)
			say(`{"m":41}`)
			wait(t, 5)
			topic := fmt.Sprintf("watchtower/homeassistant/home/5/state/%d", id)
			require.JSONEq(t, `{"m":41}`, string(h.bus.Retained(topic)))
			h.stop()
			h.options.Channels = map[bridge.Channel]string{7: "Attic"}
			h.start()
			wait(t, 10)
			assert.NotEmpty(t, h.bus.Retained(topic))
			if born {
				h.birth()
				wait(t, 30)
			} else {
				wait(t, 5*60)
			}
			assert.Empty(t, h.bus.Retained(topic))
			h.stop()
		})
	}
}
