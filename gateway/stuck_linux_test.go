package gateway_test

import (
	"testing"
	"time"

	"watchtower/config"
)

// A client that does not read is disconnected, also if the system's buffers have room for
// everything, so that no write is ever late.
func TestWhoTakesNothingIsCutWhateverTheSystemBuffers(t *testing.T) {
	t.Parallel()
	for name, join := range map[string]func(*running) func() bool{"http": stuckStream, "tcp": stuckTCP, "mqtt": stuckMQTT} {
		t.Run(name, func(t *testing.T) {
			r := start(t, func(c *config.Config) {
				c.HTTP.WriteTimeout, c.TCP.WriteTimeout, c.MQTT.WriteTimeout, c.HTTP.Linger = time.Second, time.Second, time.Second, 0
				c.HTTP.Heartbeat = time.Hour
			})
			flood := flooder(r)
			ended := join(r)
			flood()
			eventually(t, "it was disconnected", ended)
		})
	}
}
