package mqtt_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"
	"github.com/stretchr/testify/require"
)

// After takeovers and restarts, ten takeovers for each restart, a client's retained state is
// from its newest connection, and never an old will.
func TestTakeoversAndRestarts(t *testing.T) { takeoversAndRestarts(t, 15) }

func takeoversAndRestarts(t *testing.T, restarts int) {
	d := newDisk(t, nil)
	state := func(c *client, said string) {
		code := c.publishPacket(packets.Packet{FixedHeader: packets.FixedHeader{Qos: 1, Retain: true}, TopicName: "state/x", Payload: []byte(said)})
		require.Zero(t, code)
	}
	retained := func() string {
		c := d.join(connect{id: "reader"})
		defer c.nc.Close()
		c.subscribe(0, "state/x")
		return string(c.read(packets.Publish).Payload)
	}
	n := 0
	for restart := range restarts {
		for range 10 {
			n++
			will := dead("x", true)
			c := d.join(connect{id: "x", dirty: rand.IntN(2) == 0, version: 4 + byte(rand.IntN(2)), will: will})
			said := fmt.Sprint("up ", n)
			state(c, said)
			require.Equal(t, said, retained(), "takeover %d", n)
		}
		d.restart() // within the grace of the wills
		c := d.join(connect{id: "x", will: dead("x", true)})
		said := fmt.Sprint("restarted ", restart)
		state(c, said)
		require.Equal(t, said, retained(), "restart %d", restart)
		if rand.IntN(2) == 0 {
			c.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Disconnect}})
			c.ended()
			d.restart()
			require.Equal(t, said, retained(), "restart %d after a goodbye", restart)
		}
	}
}
