//go:build homeassistant

package realhouse

import (
	"os"
	"strings"
	"testing"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/bcrypt"

	"watchtower/internal/harness/house"
)

// lines counts the lines of the gateway's log that have all of these texts.
func (p *program) lines(texts ...string) (n int) {
	for line := range strings.Lines(p.out.String()) {
		all := true
		for _, text := range texts {
			all = all && strings.Contains(line, text)
		}
		if all {
			n++
		}
	}
	return n
}

// Home Assistant's client id is left empty, as its form advises: then it is another one at each
// start. Neither those nor its will and its session leave anything at the gateway.
func TestAClientIDIsLeftEmpty(t *testing.T) {
	for protocol, rounds := range map[string]int{"5": 2, "3.1.1": 1} {
		t.Run(protocol, func(t *testing.T) {
			p := start(t, watering)
			h := house.Open(t)
			h.Allow(connectionLost)
			h.Join(house.Broker{At: p.mqtt, Password: key, Protocol: protocol})
			h.Has(gatewayEntities...)
			settled(h)
			h.Restart()
			h.Has(gatewayEntities...)
			settled(h)
			for range rounds {
				p.stop()
				p.start()
				h.Shows("sensor.watchtower_home_version", "0.1.0")
				settled(h)
			}
			p.eventually("only the one that is connected is known", func() bool { return len(p.senders()) <= 1 })
			assert.Zero(t, p.lines("belonged to nobody"))
			assert.Zero(t, p.lines("MQTT state dropped"))
			assert.Zero(t, p.lines("level=error"))
			h.Call("notify.send_message", "notify.watchtower_home_channel_5_say", map[string]any{"message": "hello"})
			h.Shows("sensor.watchtower_home_channel_5_last", "hello")
		})
	}
}

// A key that was wrong once ends Home Assistant's tries, as the page says, until it is reloaded.
// That it has to wait, because somebody at its address tried wrong keys, does not.
func TestHomeAssistantTriesAgain(t *testing.T) {
	p := start(t, watering+"\nlimits: {failures: 3, failure_interval: 12s}")
	h := house.Open(t)
	h.Allow(connectionLost)
	h.Join(p.broker())
	const version = "sensor.watchtower_home_version"
	h.Shows(version, "0.1.0")
	settled(h)

	p.stop()
	p.start()
	for range 5 {
		guess := mqtt.NewClient(mqtt.NewClientOptions().AddBroker("tcp://" + p.mqtt).SetClientID("guess").SetUsername("x").SetPassword("guess"))
		token := guess.Connect()
		require.True(t, token.WaitTimeout(house.Patience))
		require.Error(t, token.Error())
	}
	const wait = "Unable to connect to the MQTT broker: Connection rate exceeded"
	h.Allow(wait)
	p.eventually("it has to wait", func() bool { return strings.Contains(h.Log(), wait) })
	h.Shows(version, "0.1.0")
	settled(h)

	p.stop()
	p.key = "another secret key"
	p.start()
	const refused = "Unable to connect to the MQTT broker: Bad user name or password"
	h.Allow(refused)
	p.eventually("the key is wrong", func() bool { return strings.Contains(h.Log(), refused) })
	h.Shows(version, "unavailable")
	p.stop()
	p.key = key
	p.start()
	h.Reload()
	h.Shows(version, "0.1.0")
	settled(h)
}

// The access list of the page is enough for everything, and its refusals are one line of the log
// at each connect.
func TestAnAccessList(t *testing.T) {
	document, err := os.ReadFile("../../docs/home-assistant-reference.md")
	require.NoError(t, err)
	_, users, found := strings.Cut(string(document), "one it needs at least:\n\n```yaml\n")
	require.True(t, found)
	users, _, _ = strings.Cut(users, "```")
	hash, err := bcrypt.GenerateFromPassword([]byte("its own"), bcrypt.MinCost)
	require.NoError(t, err)
	p := start(t, watering+"\n"+strings.ReplaceAll(users, "$2a$10$…", string(hash)))
	h := house.Open(t)
	h.Allow(connectionLost)
	h.Join(house.Broker{At: p.mqtt, Password: "its own", Client: "homeassistant"})
	d := p.device("balcony")
	d.say(balcony)
	d.say(`{"m":41}`)
	everything := entities(gatewayEntities, balconyEntities)
	h.Has(everything...)
	h.Shows("sensor.balcony_moisture", "41")
	settled(h)
	assert.Equal(t, 1, p.lines("level=warning", "subscription refused"))
	p.stop()
	p.start()
	d.connect()
	h.Has(everything...)
	h.Shows("sensor.balcony_moisture", "41")
	settled(h)
	assert.Equal(t, 2, p.lines("level=warning", "subscription refused"))

	h.Call("button.press", "button.balcony_open", nil)
	d.hears("open")
	h.Call("button.press", "button.watchtower_home_describe", nil)
	d.hears("describe")
	h.Call("notify.send_message", "notify.watchtower_home_channel_5_say", map[string]any{"message": "hello"})
	d.hears("hello")
	h.Shows("sensor.watchtower_home_channel_5_last", "hello")
	h.DeleteDevice("Balcony")
	h.Has(gatewayEntities...)
	assert.Zero(t, p.lines("publish refused"))

	h.Call("mqtt.publish", "", map[string]any{"topic": "watchtower/channels/6/broadcast", "payload": "open", "qos": 1})
	h.Until("the refusal is shown", func(s map[string]house.State) bool {
		return s["event.watchtower_home_refused"].Attributes["topic"] == "watchtower/channels/6/broadcast"
	})
}

// A client that takes Home Assistant's client id ends its connection, and Home Assistant is back.
func TestItsClientIDIsTaken(t *testing.T) {
	p := start(t, watering)
	h := house.Open(t)
	h.Allow(connectionLost, "Disconnected from MQTT server")
	h.Join(p.broker())
	const version = "sensor.watchtower_home_version"
	h.Shows(version, "0.1.0")
	other := p.client("homeassistant", nil, func(o *mqtt.ClientOptions) { o.SetAutoReconnect(false) })
	h.Shows(version, "unavailable")
	h.Shows(version, "0.1.0")
	assert.False(t, other.client.IsConnectionOpen())
}
