package mqtt_test

import (
	"bytes"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/mqtt"
)

// publishAll publishes n messages at QoS 2 in one go, and reads what they are answered.
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

// MQTT 3.1.1 has no Receive Maximum: a client may have every id under way, and each
// message is taken once, also after a reconnect and a restart.
func TestEveryIDMayBeUnderWay(t *testing.T) {
	const all = 65535
	d := newDisk(t, func(o *mqtt.Options) { o.SessionQueue, o.SessionQueueBytes, o.MQTTQueueBytes = 2*all, 1<<30, 1<<30 })
	sub := d.join(lasting("sub", 4))
	sub.subscribe(1, "own/x")
	d.lose(sub, 0)
	queues, _, _ := d.broker.HeldBytes()
	c := d.join(lasting("c", 4))
	c.publishAll(1200)
	now, _, _ := d.broker.HeldBytes()
	assert.Less(t, now-queues, 1200*400, "what waits, and the ids")
	c.publishAgain(1200)
	held, _ := d.broker.Held("sub")
	assert.Equal(t, 1200, held)
	for id := 1200; id < all; id++ {
		c.raw(frame(0x34, text("own/x"), u16(uint16(id+1)), props(c.version), []byte("x")))
		c.read(packets.Pubrec)
	}
	held, _ = d.broker.Held("sub")
	assert.Equal(t, all, held)
	d.restart()
	c = d.join(lasting("c", 4))
	c.publishAgain(1200)
	held, _ = d.broker.Held("sub")
	assert.Equal(t, all, held, "they are known still")
	for _, id := range []uint16{1, 1200, all} {
		c.answers(packets.Pubrel, id)
		assert.Equal(t, id, c.read(packets.Pubcomp).PacketID)
	}
	c.publishAll(1)
	held, _ = d.broker.Held("sub")
	assert.Equal(t, all+1, held)
}

// A client that never releases what it publishes, as some small ones are, uses its ids
// again: on one connection, and after it was switched off. All of its messages arrive.
func TestWhoNeverReleasesIsHeard(t *testing.T) {
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

// The ids of a session count as memory, and end with it.
func TestTheIDsOfASessionTakeLittleMemory(t *testing.T) {
	h := build(t, nil)
	before, _, _ := h.broker.HeldBytes()
	for range 2 {
		c := h.join(connect{id: "c"})
		c.publishAll(65535)
		now, _, _ := h.broker.HeldBytes()
		assert.Greater(t, now-before, 8<<10)
		assert.Less(t, now-before, 16<<10)
		h.lose(c, 0)
		now, _, _ = h.broker.HeldBytes()
		assert.Equal(t, before, now)
	}
}

func TestMoreUnderWayThanTheReceiveMaximumIsLogged(t *testing.T) {
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
