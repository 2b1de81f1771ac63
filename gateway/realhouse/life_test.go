//go:build homeassistant

package realhouse

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"watchtower/internal/harness/house"
)

const watering = "channels: {5: {name: Watering, homeassistant: true}}"

// balcony is what docs/home-assistant-reference.md has an Arduino say.
const balcony = `{"name":"Balcony","model":"ESP8266",` +
	`"sensors":{"moisture":{"unit":"%","device_class":"moisture","value":"{{ value_json.m }}"}},"commands":["open","close"]}`

// The entities of a gateway that is named home, of its channel 5, and of the balcony.
var (
	gatewayEntities = []string{
		"sensor.watchtower_home_senders", "sensor.watchtower_home_channels",
		"sensor.watchtower_home_messages_per_minute", "sensor.watchtower_home_version",
		"sensor.watchtower_home_lost", "button.watchtower_home_describe", "event.watchtower_home_refused",
		"event.watchtower_home_channel_5", "sensor.watchtower_home_channel_5_last",
		"sensor.watchtower_home_channel_5_members", "notify.watchtower_home_channel_5_say",
	}
	balconyEntities = []string{"sensor.balcony_moisture", "button.balcony_open", "button.balcony_close"}
)

func entities(lists ...[]string) (all []string) {
	for _, list := range lists {
		all = append(all, list...)
	}
	return all
}

// Either side is restarted and killed, in each order, and everything is there as before.
func TestBothSidesRestart(t *testing.T) {
	p := start(t, watering)
	h := house.Open(t)
	h.Join(p.broker())
	d := p.device("balcony")
	d.say(balcony)
	everything := entities(gatewayEntities, balconyEntities)
	h.Has(everything...)
	d.say(`{"m":41}`)
	h.Shows("sensor.balcony_moisture", "41")
	h.Call("button.press", "button.balcony_open", nil)
	d.hears("open")
	assert.Equal(t, h.Devices()["Watchtower home"].ID, h.Devices()["Balcony"].Via)

	steps := []struct {
		name string
		do   func()
	}{
		{"Home Assistant stops in good order", func() { h.Restart() }},
		{"Home Assistant is killed", func() { h.Kill(); h.Start() }},
		{"the gateway stops in good order", func() { p.stop(); p.start(); d.connect() }},
		{"the gateway is killed", func() { p.kill(); p.start(); d.connect() }},
		{"both: the gateway comes first", func() { h.Stop(); p.kill(); p.start(); d.connect(); h.Start() }},
		{"both: Home Assistant comes first", func() { h.Kill(); p.stop(); h.Start(); p.start(); d.connect() }},
	}
	h.Allow(connectionLost)
	for _, step := range steps {
		t.Log(step.name)
		step.do()
		h.Shows("sensor.balcony_moisture", "41")
		h.Has(everything...)
		h.Call("button.press", "button.balcony_open", nil)
		d.hears("open")
	}
	assert.NotContains(t, p.out.String(), "belonged to nobody", "nothing on the disk is left over")
}
