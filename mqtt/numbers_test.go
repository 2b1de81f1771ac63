//go:build !race

// These numbers are too large for the race detector, which takes ten times as long.

package mqtt_test

import (
	"fmt"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
	"watchtower/internal/harness"
	"watchtower/mqtt"
)

// MQTT 3.1.1 has no Receive Maximum: a client may use every id at once, and each message is
// taken once, also after a reconnect and a restart.
func TestEveryIDMayBeUnderWay(t *testing.T) {
	t.Parallel()
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

// A million topics, one after the other, leave no memory behind.
func TestAMillionTopicsLeaveMemoryFlat(t *testing.T) {
	h := build(t, nil)
	h.join(connect{id: "spy"}).subscribe(0, "nothing/+/here")
	c := h.join(connect{id: "pub"})
	publish := func(from, to int) {
		var batch []byte
		for i := from; i < to; i++ {
			topic := fmt.Sprintf("a/house/with/topic/%07d/state", i)
			batch = append(batch, packets.Publish<<4, byte(2+len(topic)+1), 0, byte(len(topic)))
			batch = append(append(batch, topic...), 'x')
			if len(batch) > 60_000 || i == to-1 {
				c.raw(batch)
				batch = batch[:0]
			}
		}
		c.ping()
	}
	publish(0, 100_000) // the cache is full
	before := harness.Heap(t)
	publish(100_000, 1_000_000)
	grown := harness.Heap(t) - before
	require.Less(t, grown, 10<<20, "bytes after 900,000 more topics")
	in, _ := h.hub.Counters().Messages(mqtt.Protocol)
	assert.EqualValues(t, 1_000_000, in)
	routes, bytes := h.broker.RoutesCached()
	assert.LessOrEqual(t, routes, 1<<16)
	assert.LessOrEqual(t, bytes, 16<<20)
}

func TestManyTopicsLeaveTheCacheBounded(t *testing.T) {
	h := build(t, nil)
	web := h.web("web")
	spy := h.join(connect{id: "spy"})
	spy.subscribe(0, "nothing")
	for i := range 50_000 {
		c := bridge.Channel(i + 1)
		a := &bridge.Attachment{Via: viaHTTP, Broadcasts: true}
		require.NoError(t, h.hub.Attach(web, c, a))
		_, err := h.hub.Publish(web, bridge.Publication{Channels: []bridge.Channel{c}, Via: viaHTTP})
		require.NoError(t, err)
		h.hub.Detach(a)
	}
	routes, bytes := h.broker.RoutesCached()
	assert.LessOrEqual(t, routes, 1<<16)
	assert.LessOrEqual(t, bytes, 16<<20)
}

func TestAThousandTakeoversAndAHundredRestarts(t *testing.T) {
	t.Parallel()
	takeoversAndRestarts(t, 100)
}

func TestTenThousandBothWays(t *testing.T) {
	t.Parallel()
	bothWays(t, 10_000)
}
