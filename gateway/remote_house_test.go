package gateway_test

import (
	"fmt"
	"testing"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/config"
	"watchtower/internal/harness"
)

// beside is a gateway for a Home Assistant that stays at its own broker.
func beside(t testing.TB, m *harness.Mosquitto, change func(*config.Config)) config.Config {
	t.Helper()
	return homely(t, func(c *config.Config) {
		c.MQTT.Remote.URL, c.MQTT.Remote.Trust = m.URL(), "none"
		if change != nil {
			change(c)
		}
	})
}

// Home Assistant keeps its broker. There it sees the gateway and the devices that describe
// themselves, hears what is said on a channel, and speaks.
func TestHomeAssistantKeepsItsBroker(t *testing.T) {
	t.Parallel()
	bothVersions(t, func(t *testing.T, version int) {
		m := harness.StartMosquitto(t, "allow_anonymous true")
		r := startHomely(t, beside(t, m, nil))
		r.isAtRemote()
		h := newHouse(t, m.Address, version).start()
		d := r.named("udp", "balcony")
		d.broadcast(5, []byte(balcony))
		s := h.has(entities(gatewayEntities, channelEntities(5), balconyEntities())...)
		e := balconyEntities()
		assert.Equal(t, "Balcony", s.States[e[0]].Device)
		d.broadcast(5, []byte(`{"m":41}`))
		h.shows(e[0], "41")
		assert.Equal(t, `{"m":41}`, h.event(t).Attributes["text"])

		h.do(map[string]string{"do": "press", "entity": e[2]})
		for d.next(t).data != "open" { // what it has said itself comes back to it, maybe late
		}
		plug := r.foreign(m, "plug")
		h.do(map[string]string{"do": "notify", "entity": "notify.watchtower_home_channel_5_say", "message": "are belong to us"})
		require.Equal(t, "are belong to us", d.next(t).data)
		require.Equal(t, "are belong to us", plug.next(t).data, "clients of that broker hear it under Home Assistant's id")
		assert.Equal(t, "homeassistant-remote", h.event(t).Attributes["name"])
		assert.Empty(t, h.now().Errors)
	})
}

// Whichever of them is restarted, each thing is there once, with its state.
func TestAHouseWithItsOwnBrokerIsRestarted(t *testing.T) {
	t.Parallel()
	m := harness.StartMosquitto(t, "allow_anonymous true")
	cfg := beside(t, m, nil)
	r := startHomely(t, cfg)
	r.isAtRemote()
	h := newHouse(t, m.Address, 5).start()
	describe := func() *device {
		d := r.named("mqtt", "balcony")
		d.broadcast(5, []byte(balcony))
		d.broadcast(5, []byte(`{"m":41}`))
		return d
	}
	describe()
	all, moisture := entities(gatewayEntities, channelEntities(5), balconyEntities()), balconyEntities()[0]
	whole := func(after string) {
		t.Helper()
		h.until("everything is there again after "+after, func(s houseStates) bool {
			return len(s.States) == len(all) && s.States[moisture].State == "41" && s.States["sensor.watchtower_home_version"].State != "unavailable"
		})
		assert.Empty(t, h.now().Errors, after)
	}
	whole("the start")
	h.restart()
	whole("Home Assistant's restart")
	m.Kill()
	m.Start()
	h.connected()
	whole("the broker's restart, with nothing")
	r.stop()
	h.shows(moisture, "unavailable")
	r = startHomely(t, cfg)
	r.isAtRemote()
	r.named("mqtt", "balcony") // it is back, and says nothing
	whole("the gateway's restart")
	m.Kill()
	r.stop()
	r = startHomely(t, cfg)
	m.Start()
	h.connected()
	r.named("mqtt", "balcony")
	whole("the restart of both")

	// A device that its owner removes by hand stays away until it describes itself again.
	c := stranger(t, m, "owner", "x", "")
	done(t, c.Publish("homeassistant/device/watchtower_home_balcony/config", 1, true, ""))
	h.has(entities(gatewayEntities, channelEntities(5))...)
	again := r.named("mqtt", "balcony")
	eventually(t, "the device is back", func() bool { // the gateway may hear the removal after this
		again.broadcast(5, []byte(balcony))
		again.broadcast(5, []byte(`{"m":41}`))
		return len(h.now().States) == len(all)
	})
	whole("its removal by hand")

	// What somebody else writes there is corrected.
	done(t, c.Publish("homeassistant/device/watchtower_home_balcony/config", 1, true, `{"device":{"name":"Mine"}}`))
	kept := make(chan string, 10)
	eventually(t, "it is corrected", func() bool {
		look := stranger(t, m, fmt.Sprint("look", len(kept)), "x", "")
		defer look.Disconnect(0)
		done(t, look.Subscribe("homeassistant/device/watchtower_home_balcony/config", 1, func(_ paho.Client, m paho.Message) { kept <- string(m.Payload()) }))
		return len(<-kept) > 100
	})
}

// Nobody at the broker speaks as Home Assistant on channels that it was not told of.
func TestHomeAssistantSpeaksOnItsChannelsOnly(t *testing.T) {
	t.Parallel()
	m := harness.StartMosquitto(t, "allow_anonymous true")
	r := startHomely(t, beside(t, m, nil))
	r.isAtRemote()
	d := r.wire("tcp")
	c := stranger(t, m, "house", "x", "")
	done(t, c.Publish("watchtower/channels/6/broadcast", 1, false, "on another channel"))
	done(t, c.Publish("watchtower/channels/5/broadcast", 1, false, "said"))
	require.Equal(t, "said", d.next(t).data)
	house, err := r.g.Hub().Receiver("homeassistant-remote")
	require.Nil(t, err)
	done(t, c.Publish(fmt.Sprintf("watchtower/channels/5/broadcast/%d", house), 1, false, "with its id"))
	done(t, c.Publish(fmt.Sprintf("watchtower/channels/5/send/%d", d.id), 1, false, "sent"))
	require.Equal(t, "sent", d.next(t).data)
	status, _ := r.registerAs(key, "homeassistant-remote")
	assert.NotEqual(t, 200, status)
}
