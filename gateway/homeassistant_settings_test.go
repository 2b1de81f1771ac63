package gateway_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"watchtower/bridge"
	"watchtower/config"
)

const homeDiscovery = "homeassistant/device/watchtower_home/config"

func testHomeAssistantOff(t *testing.T) {
	for _, on := range []bool{true, false} {
		r := startHomely(t, homely(t, func(c *config.Config) { c.HomeAssistant.Enabled = on }))
		d := r.paho("balcony")
		d.broadcast(5, []byte("x"))
		d.next(t)
		if on {
			eventually(t, "it is told", func() bool {
				return r.g.Retained(homeDiscovery) != nil && r.g.Retained("watchtower/homeassistant/home/5/last") != nil
			})
		} else {
			assert.Nil(t, r.g.Retained(homeDiscovery))
		}
		r.stop()
	}
}

func testDiscoveryPrefix(t *testing.T) {
	r := startHomely(t, homely(t, func(c *config.Config) { c.HomeAssistant.DiscoveryPrefix = "discover/me" }))
	h := newHouse(t, r.at.MQTT, 5)
	h.options.Prefix = "discover/me"
	h.start().has(entities(gatewayEntities, channelEntities(5))...)
	assert.Nil(t, r.g.Retained(homeDiscovery))
}

func testBirthTopic(t *testing.T) {
	r := startHomely(t, homely(t, func(c *config.Config) { c.HomeAssistant.BirthTopic = "born/again" }))
	h := newHouse(t, r.at.MQTT, 5)
	h.options.Birth = "born/again"
	h.start().settled()
}

// While a birth waits for its answer, other changes are published already.
func testBirthDelay(t *testing.T) {
	r := startHomely(t, homely(t, func(c *config.Config) { c.HomeAssistant.BirthDelay = 1000 * time.Hour }))
	h := newHouse(t, r.at.MQTT, 5).start()
	h.has(entities(gatewayEntities, channelEntities(5))...)
	d := r.named("http", "balcony")
	d.broadcast(5, []byte(balcony))
	s := h.until("the device is told of", func(s houseStates) bool { return s.States[balconyEntities()[0]].Found })
	assert.Equal(t, 1, s.Updates[homeDiscovery])
}

func testHomeAssistantDevices(t *testing.T) {
	r := startHomely(t, homely(t, func(c *config.Config) { c.Limits.HomeAssistantDevices = 1 }))
	h := newHouse(t, r.at.MQTT, 5).start()
	first, second := r.named("http", "balcony"), r.named("http", "terrace")
	first.broadcast(5, []byte(balcony))
	h.until("the first is there", func(s houseStates) bool { return s.States["sensor.balcony_moisture"].Found })
	second.broadcast(5, []byte(balcony))
	eventually(t, "the second is counted", func() bool { return r.dropped(viaHTTP, bridge.Limit) == 1 })
	eventually(t, "and the log says why", func() bool { return strings.Contains(r.log.String(), "limits.homeassistant_devices") })
	first.broadcast(5, []byte(`{"sensors":{}}`))
	second.broadcast(5, []byte(balcony))
	h.until("the second has the place", func(s houseStates) bool {
		_, first := s.States["sensor.balcony_moisture"]
		return s.States["sensor.terrace_moisture"].Found && !first
	})
}
