package gateway_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/stretchr/testify/require"

	"watchtower/config"
	"watchtower/internal/harness"
)

// day is a house with its own broker: zigbee2mqtt and Home Assistant on it, a gateway, and a
// device and a stream at the gateway.
type day struct {
	t      testing.TB
	broker *harness.Mosquitto
	cfg    config.Config
	r      *running
	house  *house
	zigbee paho.Client
	plug   chan string // what zigbee2mqtt is told to do
	device *device
	stream *device
	n      int
}

func newDay(t testing.TB) *day {
	d := &day{t: t, broker: harness.StartMosquitto(t, "allow_anonymous true")}
	d.cfg = beside(t, d.broker, func(c *config.Config) {
		c.Channels[5] = config.Channel{Name: "Watering", HomeAssistant: true, Map: []config.Map{
			{Topic: "zigbee2mqtt/+/action", In: true},
			{Topic: "zigbee2mqtt/plug/set", Out: true, Values: map[string]string{"1": "ON", "0": "OFF"}},
		}}
	})
	d.gateway()
	d.zigbee2mqtt()
	d.house = newHouse(t, d.broker.Address, 5).start()
	return d
}

// gateway starts the gateway, and its device and stream.
func (d *day) gateway() {
	d.r = startHomely(d.t, d.cfg)
	d.device = d.r.named("udp", "balcony")
	d.device.broadcast(5, []byte(balcony))
	d.stream = d.r.stream()
}

// zigbee2mqtt connects what behaves as zigbee2mqtt.
func (d *day) zigbee2mqtt() {
	plug := make(chan string, 100) // a handler of before may still run
	d.plug = plug
	d.zigbee = stranger(d.t, d.broker, "zigbee2mqtt", "x", "")
	done(d.t, d.zigbee.Subscribe("zigbee2mqtt/+/set", 1, func(_ paho.Client, m paho.Message) { plug <- string(m.Payload()) }))
}

// lives requires that everybody reaches everybody.
func (d *day) lives(after string) {
	d.t.Helper()
	d.r.isAtRemote()
	d.n++
	m := fmt.Sprintf(`{"m":%d}`, d.n)
	d.house.until("the devices are there after "+after, func(s houseStates) bool {
		return s.States[balconyEntities()[0]].Found && s.States["sensor.watchtower_home_version"].State != "unavailable"
	})
	eventually(d.t, "a measurement is in Home Assistant after "+after, func() bool {
		d.device.broadcast(5, []byte(m))
		return d.house.now().States[balconyEntities()[0]].State == fmt.Sprint(d.n)
	})
	press := fmt.Sprintf("single%d", d.n)
	eventually(d.t, "a Zigbee button rings after "+after, func() bool {
		done(d.t, d.zigbee.Publish("zigbee2mqtt/button/action", 1, false, press))
		return heardSoon(d.device, press) && heardSoon(d.stream, press)
	})
	eventually(d.t, "a basic frame switches a Zigbee plug after "+after, func() bool {
		d.device.broadcast(5, []byte{'0' + byte(d.n%2)})
		select {
		case got := <-d.plug:
			return got == []string{"OFF", "ON"}[d.n%2]
		case <-time.After(short):
			return false
		}
	})
	eventually(d.t, "Home Assistant's button reaches the device after "+after, func() bool {
		d.house.do(map[string]string{"do": "press", "entity": balconyEntities()[2]})
		return heardSoon(d.device, "open")
	})
	require.Empty(d.t, d.house.now().Errors, after)
}

// heardSoon reports whether a device gets these words in a moment.
func heardSoon(d *device, words string) bool {
	for limit := time.After(short); ; {
		select {
		case got := <-d.inbox:
			if got.data == words {
				return true
			}
		case <-limit:
			return false
		}
	}
}

// restart restarts one of them.
func (d *day) restart(what string) {
	switch what {
	case "the broker":
		d.broker.Kill()
		d.broker.Start()
		d.zigbee2mqtt()
		d.house.connected()
	case "the gateway":
		d.r.stop()
		d.gateway()
	case "Home Assistant":
		d.house.restart()
	case "zigbee2mqtt":
		d.zigbee.Disconnect(0)
		d.zigbee2mqtt()
	}
}

// A day's life: each of them is restarted, and everybody reaches everybody again.
func TestADayAtAForeignBroker(t *testing.T) {
	t.Parallel()
	d := newDay(t)
	d.lives("the start")
	for _, what := range []string{"Home Assistant", "the broker", "the gateway", "zigbee2mqtt"} {
		d.restart(what)
		d.lives(what)
	}
}

// The guide's lines bring the gateway into a Home Assistant that keeps its broker.
func TestTheForeignBrokerOfTheGuide(t *testing.T) {
	t.Parallel()
	m := &harness.Mosquitto{TB: t, Address: harness.FreeAddress(t), Dir: t.TempDir()}
	passwords := m.File("passwords", "")
	for user, password := range map[string]string{"watchtower": "the password", "homeassistant": key} {
		run(t, program(t, "mosquitto_passwd"), "-b", passwords, user, password)
	}
	m.Configure("password_file " + passwords)
	m.Start()
	t.Cleanup(m.Kill)
	guide := text(t, "docs/home-assistant.md")
	require.True(t, strings.HasPrefix(guide, "# Home Assistant\n\nYou keep your broker."))
	yaml := block(t, guide, "```yaml\n# w.yaml\n", "```") + block(t, guide, "<!-- remote -->\n```yaml\n", "```")
	file := filepath.Join(t.TempDir(), "w.yaml")
	require.NoError(t, os.WriteFile(file, []byte(strings.ReplaceAll(yaml, "homeassistant.local:1883", m.Address)), 0o600))
	written, _, err := config.Load(nil, []string{"HOME=/"}, file)
	require.NoError(t, err)
	r := startHomely(t, homely(t, func(c *config.Config) {
		c.Channels, c.Gateway.Name, c.MQTT.Remote = written.Channels, written.Gateway.Name, written.MQTT.Remote
	}))
	r.isAtRemote()
	h := newHouse(t, m.Address, 5).start()
	h.has(entities(gatewayEntities, channelEntities(5))...)
}
