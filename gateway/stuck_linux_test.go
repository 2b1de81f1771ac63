package gateway_test

import (
	"testing"
	"time"

	"watchtower/config"
)

// What a client does not take ends its connection, also where the system's own
// buffers have room for all of it and no write is ever too late.
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
