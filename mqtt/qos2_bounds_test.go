package mqtt_test

import (
	"bytes"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/mqtt"
)

// publishAll publishes n messages at QoS 2 at once, and reads the answers.
func (c *client) publishAll(n int) { c.t.Helper(); c.publishMany(0x34, n) }

// publishAgain sends them again.
func (c *client) publishAgain(n int) { c.t.Helper(); c.publishMany(0x3c, n) }

func (c *client) publishMany(first byte, n int) {
	c.t.Helper()
	var b bytes.Buffer
	for id := range n {
		b.Write(frame(first, text("own/x"), u16(uint16(id+1)), props(c.version), []byte("x")))
	}
	go func() { _, _ = c.nc.Write(b.Bytes()) }()
	for id := range n {
		pk, err := c.next()
		require.NoError(c.t, err)
		require.Equal(c.t, packets.Pubrec, pk.FixedHeader.Type)
		require.EqualValues(c.t, id+1, pk.PacketID)
		require.Zero(c.t, pk.ReasonCode)
	}
}

// Some small clients never release their publishes (PUBREL), and use their ids again: on one
// connection, and after they were switched off. All of their messages arrive.
func TestWhoNeverReleasesIsHeard(t *testing.T) {
	t.Parallel()
	h := build(t, func(o *mqtt.Options) { o.SessionQueue = 100_000 })
	sub := h.join(lasting("sub", 4))
	sub.subscribe(1, "own/x")
	h.lose(sub, 0)
	for range 2 {
		c := h.join(lasting("MiniMQTT", 4))
		for range 3 {
			c.publishAll(5)
		}
		h.lose(c, 0)
	}
	held, _ := h.broker.Held("sub")
	assert.Equal(t, 30, held)
	assert.Len(t, h.logged("does not release"), 1)
}

func TestMoreUnderWayThanTheReceiveMaximumIsLogged(t *testing.T) {
	t.Parallel()
	h := build(t, nil)
	c, ack := h.dial(connect{id: "c", version: 5})
	c.publishAll(int(ack.Properties.ReceiveMaximum))
	c.raw(frame(0x34, text("own/x"), u16(5000), props(5)))
	assert.Equal(t, byte(0x93), c.ended())
	lines := h.logged("more publishes under way")
	require.Len(t, lines, 1)
	assert.Equal(t, "c", lines[0].Data["client"])
	assert.Equal(t, int(ack.Properties.ReceiveMaximum), lines[0].Data["receive_maximum"])
}
