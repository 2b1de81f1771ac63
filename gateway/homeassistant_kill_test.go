package gateway_test

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The program is killed at every step, and only the removed entities are gone.
func TestHomeAssistantThroughKills(t *testing.T) {
	t.Parallel()
	p := newProcess(t)
	file := filepath.Join(t.TempDir(), "w.yaml")
	configure := func(yaml string) { require.NoError(t, os.WriteFile(file, []byte(yaml), 0o600)) }
	configure("gateway: {name: home}\nchannels: {5: {name: Watering, homeassistant: true}}\n")
	p.args = []string{"--config", file, "--homeassistant-birth-delay", "10ms"}
	p.start()
	h := newHouse(t, p.mqtt, 5).start()
	host, port, err := net.SplitHostPort(p.mqtt)
	require.NoError(t, err)
	say := func(text string) {
		run(t, program(t, "mosquitto_pub"), "-h", host, "-p", port, "-u", "x", "-P", key, "-i", "balcony", "-q", "1", "-t", "watchtower/channels/5/broadcast", "-m", text)
	}
	say(strings.Replace(balcony, "{", `{"available_for":86400,`, 1)) // it connects for a message each
	const moisture = "sensor.balcony_moisture"
	s := h.until("the device is there", func(s houseStates) bool { return s.States[moisture].Found })
	all := []string{}
	for id := range s.States {
		all = append(all, id)
	}
	require.Len(t, all, 15)
	say(`{"m":41}`)
	h.shows(moisture, "41")
	onDisk := func(state string) {
		eventually(t, state+" is on the disk", func() bool { // a second at most
			b, err := os.ReadFile(filepath.Join(p.dir, "broker.db"))
			return err == nil && strings.Contains(string(b), state)
		})
	}
	onDisk(`{"battery":null,"m":41}`)
	say(`{"n":1}`) // once this is being written, what was before it is there for good
	onDisk(`{"battery":null,"m":41,"n":1}`)

	p.kill()
	p.start()
	h.connected()
	h.has(all...)
	h.shows(moisture, "41")

	h.kill()
	p.kill()
	p.start()
	h.start()
	h.has(all...)
	h.shows(moisture, "41")

	// The channel is asked for no more, and the program dies before anybody hears of it.
	h.stop()
	p.kill()
	configure("gateway: {name: home}\nchannels: {5: {name: Watering}}\n")
	p.start()
	p.kill()
	p.start()
	h.start()
	h.has()
	assert.Empty(t, h.now().Errors)
}

// The removal of a device is on the disk when it is acknowledged: a gateway that is killed in the
// next moment does not bring it back.
func TestAnAcknowledgedRemovalIsOnDisk(t *testing.T) {
	t.Parallel()
	p := newProcess(t)
	file := filepath.Join(t.TempDir(), "w.yaml")
	require.NoError(t, os.WriteFile(file, []byte("gateway: {name: home}\nchannels: {5: {name: Watering, homeassistant: true}}\n"), 0o600))
	p.args = []string{"--config", file, "--homeassistant-birth-delay", "10ms"}
	p.start()
	h := newHouse(t, p.mqtt, 5).start()
	host, port, err := net.SplitHostPort(p.mqtt)
	require.NoError(t, err)
	publish := func(client, topic string, what ...string) {
		run(t, program(t, "mosquitto_pub"), append([]string{"-h", host, "-p", port, "-u", "x", "-P", key, "-i", client, "-q", "1", "-t", topic}, what...)...)
	}
	say := func(text string) { publish("balcony", "watchtower/channels/5/broadcast", "-m", text) }
	all := entities(gatewayEntities, channelEntities(5))
	say(strings.Replace(balcony, "{", `{"available_for":86400,`, 1))
	h.until("the device is there", func(s houseStates) bool { return s.States["button.balcony_close"].Found })
	publish("cellar", "homeassistant/device/watchtower_home_balcony/config", "-r", "-n")
	p.kill()
	p.start()
	h.connected()
	h.has(all...)
	say(`{"m":41}`)
	h.shows("sensor.watchtower_home_channel_5_last", `{"m":41}`)
	h.has(all...)
	assert.Empty(t, h.now().Errors)
}
