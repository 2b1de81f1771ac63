//go:build homeassistant

package realhouse

import (
	"strings"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/stretchr/testify/assert"

	"watchtower/internal/harness/house"
)

// A device is available while it is connected; its button cannot be pressed in vain.
func TestADeviceIsThereOrAway(t *testing.T) {
	p := start(t, watering)
	h := house.Open(t)
	h.Join(p.broker())
	d := p.device("balcony", func(o *mqtt.ClientOptions) { o.SetCleanSession(false) })
	d.say(`{"ttl":1,` + balcony[1:])
	d.say(`{"m":41}`)
	h.Shows("sensor.balcony_moisture", "41")
	h.Until("the button can be pressed", func(s map[string]house.State) bool { // its state is when it was, maybe by an earlier test
		return s["button.balcony_open"].State != "" && s["button.balcony_open"].State != "unavailable"
	})
	d.leave()
	h.Shows("sensor.balcony_moisture", "unavailable")
	h.Shows("button.balcony_open", "unavailable")
	h.Shows("sensor.watchtower_home_version", "0.1.0")

	// A command that is sent all the same waits for a second, as the device asked.
	h.Call("mqtt.publish", "", map[string]any{
		"topic": "watchtower/channels/5/send/balcony", "payload": "stale", "qos": 1, "message_expiry_interval": map[string]any{"seconds": 1},
	})
	sent := time.Now()
	p.eventually("the command has waited too long", func() bool { return time.Since(sent) > 2*time.Second })
	d.connect()
	h.Shows("sensor.balcony_moisture", "41")
	h.Call("button.press", "button.balcony_open", nil)
	d.hears("open")
	for _, m := range d.heard() {
		assert.NotEqual(t, "stale", m.payload)
	}
	h.Allow(connectionLost)
	p.kill()
	h.Shows("sensor.balcony_moisture", "unavailable")
	p.start()
	h.Shows("sensor.watchtower_home_version", "0.1.0")
	h.Shows("sensor.balcony_moisture", "unavailable") // it has not come back
	d.connect()
	h.Shows("sensor.balcony_moisture", "41")
}

// A device that sleeps is there for a while after it spoke, also over a restart.
func TestADeviceSleeps(t *testing.T) {
	p := start(t, watering)
	h := house.Open(t)
	h.Join(p.broker())
	say := func(text string) {
		d := p.client("balcony", nil)
		d.say(text)
		d.leave()
	}
	say(strings.Replace(balcony, "{", `{"available_for":8,`, 1))
	say(`{"m":41}`)
	h.Shows("sensor.balcony_moisture", "41")
	h.Shows("sensor.balcony_moisture", "unavailable")
	say(strings.Replace(balcony, "{", `{"available_for":600,`, 1))
	h.Shows("sensor.balcony_moisture", "41")
	settled(h)
	h.Allow(connectionLost)
	p.kill()
	p.start()
	h.Shows("sensor.balcony_moisture", "unavailable") // the gateway is away
	h.Shows("sensor.balcony_moisture", "41")
}
