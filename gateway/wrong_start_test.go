package gateway_test

import (
	"net"
	"strings"
	"testing"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/config"
	"watchtower/gateway"
	"watchtower/internal/harness"
)

const balconyTopic = "homeassistant/device/watchtower_home_balcony/config"

// Who starts the gateway with another configuration by mistake, on the same data, loses nothing that
// lasts: not if the start fails, and not if it succeeds.
func TestAStartWithTheWrongConfiguration(t *testing.T) {
	t.Parallel()
	cfg := homely(t, nil)
	r := startHomely(t, cfg)
	d := r.named("http", "balcony")
	d.broadcast(5, []byte(balcony))
	d.broadcast(5, []byte(`{"m":41}`))
	shown := func() bool { return strings.Contains(string(r.g.Retained(balconyTopic)), "Moisture") }
	eventually(t, "it is a device", shown)
	wrong := cfg
	wrong.Channels, wrong.Gateway.Name = nil, ""

	taken, err := net.Listen("tcp", wrong.MQTT.Listen)
	if err != nil { // the gateway has it still
		r.stop()
		taken, err = net.Listen("tcp", wrong.MQTT.Listen)
	}
	require.NoError(t, err)
	g, err := gateway.New(wrong, logrus.New())
	require.NoError(t, err)
	require.ErrorContains(t, g.Listen(), "in use")
	require.NoError(t, g.Close())
	require.NoError(t, taken.Close())
	r = startHomely(t, cfg)
	eventually(t, "it is a device after the start that failed", shown)

	r.stop()
	r = startHomely(t, wrong)
	eventually(t, "it is withdrawn", func() bool { return len(r.g.Retained(balconyTopic)) == 0 })
	eventually(t, "the log says so", func() bool { return strings.Contains(r.log.String(), "Home Assistant is not told of these devices") })
	r.stop()
	r = startHomely(t, cfg)
	eventually(t, "it is a device again, and did not say once more what it is", shown)
	assert.NotContains(t, r.log.String(), "is not told of")

	r.stop()
	r = startHomely(t, wrong)
	r.forget(d.id)
	r.stop()
	r = startHomely(t, cfg)
	r.named("http", "other").broadcast(5, []byte(balcony))
	eventually(t, "another one is a device", func() bool {
		return len(r.g.Retained(strings.Replace(balconyTopic, "home_balcony", "home_other", 1))) > 0
	})
	assert.Empty(t, r.g.Retained(balconyTopic), "one that was forgotten meanwhile stays away")
}

// The same at a broker that others use: there is no moment in which Home Assistant loses a device.
func TestAFailedStartLeavesTheForeignBrokerAlone(t *testing.T) {
	t.Parallel()
	m := harness.StartMosquitto(t, "allow_anonymous true")
	cfg := beside(t, m, func(c *config.Config) { c.MQTT.Listen = "127.0.0.1:0" })
	r := startHomely(t, cfg)
	r.isAtRemote()
	d := r.named("http", "balcony")
	d.broadcast(5, []byte(balcony))
	eventually(t, "it is a device", func() bool { return len(r.g.Retained(balconyTopic)) > 0 })
	r.stop()
	wrong := cfg
	wrong.MQTT.Remote, wrong.Channels, wrong.MQTT.Listen = config.Default().MQTT.Remote, nil, m.Address
	g, err := gateway.New(wrong, logrus.New())
	require.NoError(t, err)
	require.ErrorContains(t, g.Listen(), "in use")
	require.NoError(t, g.Close())

	said := make(chan string, 100)
	done(t, stranger(t, m, "look", "x", "").Subscribe(balconyTopic, 1, collect(said)))
	r = startHomely(t, cfg)
	r.isAtRemote()
	eventually(t, "it is a device", func() bool { return len(r.g.Retained(balconyTopic)) > 0 })
	r.stop()
	for range len(said) {
		assert.NotEmpty(t, <-said, "the device was never removed at the broker")
	}
}

// collect sends the payloads of what comes to a channel.
func collect(to chan<- string) paho.MessageHandler {
	return func(_ paho.Client, m paho.Message) { to <- string(m.Payload()) }
}
