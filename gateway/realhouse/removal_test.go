//go:build homeassistant

package realhouse

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"watchtower/internal/harness/house"
)

// A device that is deleted in Home Assistant stays away until it describes itself again.
func TestADeviceIsDeletedByHand(t *testing.T) {
	p := start(t, watering)
	h := house.Open(t)
	h.Join(p.broker())
	d := p.device("balcony")
	d.say(balcony)
	h.Has(entities(gatewayEntities, balconyEntities)...)
	h.DeleteDevice("Balcony")
	h.Has(gatewayEntities...)
	h.Restart()
	h.Has(gatewayEntities...)
	h.Allow(connectionLost)
	p.kill()
	p.start()
	d.connect()
	d.say(`{"m":41}`)
	h.Shows("sensor.watchtower_home_channel_5_last", `{"m":41}`)
	h.Has(gatewayEntities...)
	d.say(balcony)
	h.Has(entities(gatewayEntities, balconyEntities)...)

	h.DeleteDevice("Watchtower home")
	h.Has(entities(gatewayEntities, balconyEntities)...)
}

// What was removed while Home Assistant was there does not come back at its restart, not for
// a moment.
func TestNoGhosts(t *testing.T) {
	p := start(t, watering)
	h := house.Open(t)
	h.Join(p.broker())
	d := p.device("balcony")
	d.say(balcony)
	d.say(`{"m":41}`)
	h.Shows("sensor.balcony_moisture", "41")
	h.Has(entities(gatewayEntities, balconyEntities)...)
	settled(h)
	d.say(strings.Replace(balcony, `"open",`, "", 1))
	h.Has(entities(gatewayEntities, []string{"sensor.balcony_moisture", "button.balcony_close"})...)
	d.say(`{"sensors":{},"commands":[]}`)
	h.Has(gatewayEntities...)
	h.Stop()
	h.Start()
	seen := h.Subscribe("subscribe_events", map[string]any{"event_type": "entity_registry_updated"})
	settled(h)
	assert.Empty(t, comings(seen))
	h.Has(gatewayEntities...)
}

// settled waits until the gateway has answered Home Assistant's birth.
func settled(h *house.House) {
	heard := h.Subscribe("mqtt/subscribe", map[string]any{"topic": "watchtower/gateways/home/info"})
	h.Until("the birth is answered", func(map[string]house.State) bool {
		for _, e := range heard.Take() {
			if !strings.Contains(string(e), `"retain":true`) {
				return true
			}
		}
		return false
	})
}

// comings lists which entities were created or removed.
func comings(seen *house.Events) (all []string) {
	for _, e := range seen.Take() {
		for _, what := range []string{"create", "remove"} {
			if strings.Contains(string(e), `"action":"`+what+`"`) {
				all = append(all, string(e))
			}
		}
	}
	return all
}

// Two houses, one of which was away. What was removed meanwhile goes when it comes, and the
// other one does not notice.
func TestTheOtherHouseWasAway(t *testing.T) {
	p := start(t, watering)
	near, far := house.Open(t), house.New(t)
	near.Join(p.broker())
	other := p.broker()
	other.Client = "other"
	far.Join(other)
	d := p.device("balcony")
	d.say(balcony)
	d.say(`{"m":41}`)
	everything := entities(gatewayEntities, balconyEntities)
	near.Has(everything...)
	far.Has(everything...)
	far.Stop()
	d.say(strings.Replace(balcony, `"open",`, "", 1))
	left := entities(gatewayEntities, []string{"sensor.balcony_moisture", "button.balcony_close"})
	near.Has(left...)
	d.say(`{"sensors":{},"commands":[]}`)
	near.Has(gatewayEntities...)
	settled(near)
	seen := near.Subscribe("subscribe_events", map[string]any{"event_type": "entity_registry_updated"})
	far.Start()
	far.Has(gatewayEntities...)
	assert.Empty(t, comings(seen))
	far.Restart()
	far.Has(gatewayEntities...)
}
