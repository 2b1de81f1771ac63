package gateway_test

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/config"
)

// bothVersions runs a test with MQTT 5 and with MQTT 3.1.1.
func bothVersions(t *testing.T, test func(*testing.T, int)) {
	for _, version := range []int{5, 4} {
		t.Run(fmt.Sprintf("version %d", version), func(t *testing.T) {
			t.Parallel()
			test(t, version)
		})
	}
}

func TestHomeAssistantSeesTheHouse(t *testing.T) {
	t.Parallel()
	bothVersions(t, func(t *testing.T, version int) {
		r := startHomely(t, homely(t, nil))
		h := newHouse(t, r.at.MQTT, version).start()
		s := h.has(entities(gatewayEntities, channelEntities(5))...)
		assert.Equal(t, "Watering", s.States["event.watchtower_home_channel_5"].Name)
		assert.Equal(t, "Watchtower home", s.States["event.watchtower_home_channel_5"].Device)

		d := r.wire("udp") // no name
		h.shows("sensor.watchtower_home_channel_5_members", "1")
		d.broadcast(5, []byte("all your base"))
		e := h.event(t)
		assert.Equal(t, "event.watchtower_home_channel_5", e.Entity)
		assert.Equal(t, "all your base", e.Attributes["text"])
		assert.InDelta(t, d.id, e.Attributes["sender"], 0)
		assert.Empty(t, e.Attributes["name"])
		assert.Len(t, e.Attributes["id"], 26)
		h.shows("sensor.watchtower_home_channel_5_last", "all your base")
		h.say(d, h.now())
		assert.Empty(t, h.now().Errors)
	})
}

// say has Home Assistant broadcast by the channel's notify entity.
func (h *house) say(d *device, _ houseStates) {
	h.do(map[string]string{"do": "notify", "entity": "notify.watchtower_home_channel_5_say", "message": "are belong to us"})
	for d.next(h.t).data != "are belong to us" { // what it has said itself comes first
	}
	e := h.event(h.t)
	assert.Equal(h.t, "homeassistant", e.Attributes["name"])
}

func TestHomeAssistantHearsWhateverIsSaid(t *testing.T) {
	t.Parallel()
	r := startHomely(t, homely(t, nil))
	h := newHouse(t, r.at.MQTT, 5).start()
	h.has(entities(gatewayEntities, channelEntities(5))...)
	d := r.wire("tcp") // 1e999 is JSON, but no number of Go, so no stream hears here
	say := func(text string) map[string]any {
		d.broadcast(5, []byte(text))
		return h.event(t).Attributes
	}
	a := say(`{"moisture":41.5,"text":"mine","sender":1,"event_type":"forged","deep":{"a":[1,2]},"huge":1e999,"half":"\ud800"}`)
	assert.InDelta(t, 41.5, a["moisture"], 0)
	assert.InDelta(t, d.id, a["sender"], 0, "the gateway's keys win")
	assert.Equal(t, "message", a["event_type"])
	assert.Contains(t, a["text"], `"text":"mine"`)
	assert.Equal(t, map[string]any{"a": []any{1.0, 2.0}}, a["deep"])
	assert.Equal(t, "1e999", a["huge"])

	binary := allBytes(1)
	a = say(string(binary))
	assert.Equal(t, "base64", a["encoding"])
	assert.Equal(t, base64.StdEncoding.EncodeToString(binary), a["text"])

	assert.Empty(t, say("")["text"])
	deep := strings.Repeat(`{"a":`, 1000) + "1" + strings.Repeat("}", 1000)
	assert.NotContains(t, say(deep), "a", "too deep to be more than text")
	say("[1,2]")
	say("null")

	long := strings.Repeat("ä", 300)
	say(long)
	last := h.until("the last one is cut", func(s houseStates) bool {
		return strings.HasPrefix(s.States["sensor.watchtower_home_channel_5_last"].State, "ää")
	}).States["sensor.watchtower_home_channel_5_last"]
	assert.Equal(t, 255, utf8.RuneCountInString(last.State))
	assert.Equal(t, long, last.Attributes["text"])
	large := strings.Repeat("x", 64000)
	assert.Equal(t, large, say(large)["text"])

	d.send(5, d.id, []byte("for me alone"))
	assert.Equal(t, "after it", say("after it")["text"], "what is for one receiver is no event")
	r.paho("other").broadcast(6, []byte("not asked for"))
	assert.Equal(t, "asked for", say("asked for")["text"])
	assert.Empty(t, h.now().Errors)
}

func TestMembersForHomeAssistant(t *testing.T) {
	t.Parallel()
	r := startHomely(t, homely(t, nil))
	h := newHouse(t, r.at.MQTT, 5).start()
	const members = "sensor.watchtower_home_channel_5_members"
	h.shows(members, "0")
	end := r.follow(fmt.Sprintf("channels=5&linger=false&sender=%d", r.register("kitchen").ID), func([]byte) {})
	e := h.shows(members, "1")
	require.Len(t, e.Attributes["members"], 1)
	assert.Equal(t, "kitchen", e.Attributes["members"].([]any)[0].(map[string]any)["name"])
	end()
	e = h.shows(members, "0")
	assert.Empty(t, e.Attributes["members"])
	assert.Empty(t, h.now().Errors)
}

// Either side restarts, and then no entity is unavailable, unknown or there twice.
func TestRestartsLeaveNothingUnavailable(t *testing.T) {
	t.Parallel()
	bothVersions(t, func(t *testing.T, version int) {
		cfg := homely(t, nil)
		r := startHomely(t, cfg)
		h := newHouse(t, r.at.MQTT, version).start()
		all := entities(gatewayEntities, channelEntities(5))
		h.has(all...)
		r.stream().broadcast(5, []byte("before"))
		const last = "sensor.watchtower_home_channel_5_last"
		h.shows(last, "before")

		h.restart()
		h.has(all...)
		h.shows(last, "before")
		require.Empty(t, h.fired, "what was said before is no event now")

		r.stop()
		h.until("it is away", func(s houseStates) bool { return s.States[last].State == "unavailable" })
		r = startHomely(t, cfg)
		h.connected()
		h.has(all...)
		h.shows(last, "before")

		h.kill()
		r.stop()
		startHomely(t, cfg)
		h.start()
		h.has(all...)
		h.shows(last, "before")
		assert.Empty(t, h.now().Errors)
		h.stop()
	})
}

func renamed(entities []string) (all []string) {
	for _, e := range entities {
		all = append(all, strings.Replace(e, "_home_", "_attic_", 1))
	}
	return all
}

// startAgain starts a gateway with another configuration on the same data.
func startAgain(t *testing.T, r *running, cfg *config.Config, change func(*config.Config)) *running {
	t.Helper()
	r.stop()
	change(cfg)
	return startHomely(t, *cfg)
}

// Each change of the configuration, with Home Assistant connected to both
// gateways, and with one that was away while it happened.
func TestConfigurationLeavesNoGhosts(t *testing.T) {
	t.Parallel()
	changes := map[string]struct {
		change func(*config.Config)
		after  []string
		prefix string
	}{
		"renamed channel": {func(c *config.Config) {
			c.Channels = map[uint32]config.Channel{5: {Name: "Garden", HomeAssistant: true}}
		},
			entities(gatewayEntities, channelEntities(5)), ""},
		"removed channel": {func(c *config.Config) {
			c.Channels = map[uint32]config.Channel{7: {Name: "Attic", HomeAssistant: true}}
		},
			entities(gatewayEntities, channelEntities(7)), ""},
		"channel that asks no more": {func(c *config.Config) { c.Channels = map[uint32]config.Channel{5: {Name: "Watering"}} }, nil, ""},
		"switched off":              {func(c *config.Config) { c.HomeAssistant.Enabled = false }, nil, ""},
		"renamed gateway":           {func(c *config.Config) { c.Gateway.Name = "attic" }, renamed(entities(gatewayEntities, channelEntities(5))), ""},
		"changed prefix":            {func(c *config.Config) { c.HomeAssistant.DiscoveryPrefix = "discover/me" }, nil, ""},
		"changed prefix on both sides": {func(c *config.Config) { c.HomeAssistant.DiscoveryPrefix = "discover/me" },
			entities(gatewayEntities, channelEntities(5)), "discover/me"},
	}
	for name, change := range changes {
		for _, away := range []bool{false, true} {
			if change.prefix != "" && !away {
				continue // it is changed by a restart
			}
			t.Run(fmt.Sprintf("%s, away %t", name, away), func(t *testing.T) {
				t.Parallel()
				cfg := homely(t, nil)
				r := startHomely(t, cfg)
				h := newHouse(t, r.at.MQTT, 5).start()
				h.has(entities(gatewayEntities, channelEntities(5))...)
				r.stream().broadcast(5, []byte("x"))
				h.shows("sensor.watchtower_home_channel_5_last", "x")
				if away {
					h.stop()
				}
				r = startAgain(t, r, &cfg, change.change)
				if change.prefix != "" {
					h.options.Prefix = change.prefix
				}
				if away {
					h.start()
				} else {
					h.connected()
				}
				s := h.has(change.after...)
				if name == "renamed channel" {
					h.until("it has the new name", func(s houseStates) bool {
						return s.States["event.watchtower_home_channel_5"].Name == "Garden"
					})
				}
				h.restart()
				s = h.has(change.after...)
				assert.Empty(t, s.Errors)
				_, there := s.States["sensor.watchtower_home_channel_5_last"]
				asked := cfg.Gateway.Name == "home" && cfg.Channels[5].HomeAssistant && cfg.HomeAssistant.Enabled
				eventually(t, "nor a retained message", func() bool {
					return asked == (len(r.g.Retained("watchtower/homeassistant/home/5/last")) > 0)
				})
				assert.True(t, asked || !there)
			})
		}
	}
}
