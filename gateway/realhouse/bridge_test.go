//go:build homeassistant

package realhouse

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"watchtower/internal/harness/house"
)

// bridged returns the lines of docs/home-assistant.md by which a mosquitto bridges a gateway.
func bridged(t *testing.T, p *program, name string) string {
	t.Helper()
	return strings.NewReplacer("connection home", "connection "+name, "mosquitto-home", "mosquitto-"+name,
		"192.168.1.10:1883", p.mqtt, "the-secret-key", key).Replace(shown(t, "bridge")) + "\nrestart_timeout 1\n"
}

// Home Assistant stays at its mosquitto, which bridges two gateways.
func TestTwoGatewaysBehindAMosquitto(t *testing.T) {
	home := start(t, watering)
	attic := startNamed(t, "attic", "channels: {7: {name: Attic, homeassistant: true}}")
	at := mosquitto(t, bridged(t, home, "home"), bridged(t, attic, "attic"))
	h := house.Open(t)
	h.Join(house.Broker{At: at})
	d := home.device("balcony")
	d.say(balcony)
	d.say(`{"m":41}`)
	h.Shows("sensor.balcony_moisture", "41")
	other := entities(gatewayEntities)
	for i := range other {
		other[i] = strings.NewReplacer("_home_", "_attic_", "channel_5", "channel_7").Replace(other[i])
	}
	everything := entities(gatewayEntities, other, balconyEntities)
	h.Has(everything...)
	h.Call("button.press", "button.balcony_open", nil)
	d.hears("open")
	d.leave()
	h.Shows("sensor.balcony_moisture", "unavailable")
	d.connect()
	h.Shows("sensor.balcony_moisture", "41")

	h.Stop()
	d.say(strings.Replace(balcony, `"open",`, "", 1))
	h.Start()
	h.Has(entities(gatewayEntities, other, balconyEntities[:1], balconyEntities[2:])...)
	h.Shows("sensor.balcony_moisture", "41")
	home.stop()
	h.Shows("sensor.balcony_moisture", "unavailable")
	h.Shows("sensor.watchtower_attic_version", "0.1.0")
	home.start()
	d.connect()
	h.Shows("sensor.balcony_moisture", "41")
}

// Home Assistant's options have another birth topic and another prefix.
func TestAnotherPrefixAndBirthTopic(t *testing.T) {
	p := start(t, watering+"\nhomeassistant: {discovery_prefix: discover/me, birth_topic: born/again}")
	h := house.Open(t)
	h.Join(p.broker())
	h.Options(map[string]any{"discovery_prefix": "discover/me", "birth_topic": "born/again", "will_topic": "born/again"})
	d := p.device("balcony")
	d.say(balcony)
	h.Has(entities(gatewayEntities, balconyEntities)...)
	settled(h)
}

// A device has another name, an entity another kind, and the device another channel: each
// entity is there once, with its values.
func TestADeviceChanges(t *testing.T) {
	p := start(t, "channels: {5: {name: Watering, homeassistant: true}, 6: {name: Door, homeassistant: true}}")
	h := house.Open(t)
	h.Join(p.broker())
	d := p.device("pump")
	d.say(`{"name":"Pump","sensors":{"flow":{}},"switches":{"motor":{}}}`)
	d.say(`{"flow":1,"motor":"on"}`)
	h.Shows("sensor.pump_flow", "1")
	h.Shows("switch.pump_motor", "on")
	settled(h)
	d.say(`{"name":"Well","sensors":{"flow":{}},"switches":{"motor":{}}}`)
	h.Until("it has the new name", func(map[string]house.State) bool { _, ok := h.Devices()["Well"]; return ok })
	assert.NotContains(t, h.Devices(), "Pump")
	h.Shows("sensor.pump_flow", "1")

	d.say(`{"name":"Well","sensors":{"flow":{}},"fans":{"motor":{}}}`)
	h.Shows("fan.pump_motor", "on")
	h.Shows("switch.pump_motor", house.Missing)
	h.Shows("sensor.pump_flow", "1")

	d.publish("watchtower/channels/6/broadcast", `{"name":"Well","sensors":{"flow":{}},"fans":{"motor":{}}}`, false)
	d.publish("watchtower/channels/6/broadcast", `{"flow":2,"motor":"off"}`, false)
	h.Shows("sensor.pump_flow", "2")
	h.Shows("fan.pump_motor", "off")
	h.Restart()
	h.Shows("sensor.pump_flow", "2")
	h.Shows("fan.pump_motor", "off")
	assert.Len(t, h.Entities(), len(gatewayEntities)+4+2)
}
