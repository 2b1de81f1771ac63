//go:build long

package gateway_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"watchtower/config"
	"watchtower/internal/harness"
	"watchtower/mqtt/remote"
)

// Brokers of others carry the channels.
func TestLongBrokersOfOthers(t *testing.T) {
	t.Parallel()
	t.Run("HiveMQ CE", func(t *testing.T) { livesAt(t, harness.StartHiveMQ(t), "5") })
	t.Run("Apache ActiveMQ Artemis", func(t *testing.T) { livesAt(t, harness.StartArtemis(t), "5") })
}

// Moquette and RabbitMQ 3 speak MQTT 3.1.1 without the bridge bit: the gateway ends, and says so.
func TestLongBrokersThatKnowNoBridges(t *testing.T) {
	t.Parallel()
	for name, begin := range map[string]func(testing.TB) *harness.Mosquitto{"Moquette": harness.StartMoquette, "RabbitMQ": harness.StartRabbitMQ} {
		t.Run(name, func(t *testing.T) {
			cfg := testConfig(t)
			cfg.MQTT.Remote.URL, cfg.MQTT.Remote.Trust = begin(t).URL(), "none"
			require.ErrorIs(t, served(t, cfg), remote.ErrNoLocal)
		})
	}
}

// amqtt leaves a client of MQTT 5 without an answer: the gateway serves its own clients, and says so.
func TestLongABrokerThatDoesNotAnswer(t *testing.T) {
	t.Parallel()
	m := harness.StartAmqtt(t)
	r := start(t, func(c *config.Config) { c.MQTT.Remote.URL, c.MQTT.Remote.Trust = m.URL(), "none" })
	eventually(t, "the gateway says why", func() bool {
		_, answer := r.call("GET", "/readyz", "", "")
		return strings.Contains(answer, "the broker did not answer CONNECT")
	})
}
