//go:build !race

// Memory is measured without the race detector, which needs memory of its own.

package mqtt_test

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
	"watchtower/internal/harness"
	"watchtower/mqtt"
)

func TestQueuesOfAllSessionsAreBounded(t *testing.T) {
	const limit, sessions = 16 << 20, 40
	d := newDisk(t, func(o *mqtt.Options) { o.MQTTQueueBytes = limit })
	d.away(sessions, own)
	pub := d.join(connect{id: "p", version: 5})
	grown := grows(t, func() {
		for range 60 { // 150 MiB
			for i := range sessions - 1 {
				pub.publish(1, own(i), strings.Repeat("x", 64_000))
			}
		}
	})
	queues, _, _ := d.broker.HeldBytes()
	assert.LessOrEqual(t, queues, limit)
	assert.Greater(t, queues, limit/2)
	assert.LessOrEqual(t, grown, limit*5/4)
	assert.InDelta(t, 1, float64(queues)/float64(grown), 0.25, "%d counted, %d grown", queues, grown)
	assert.Positive(t, d.dropped(bridge.QueueFull))
	lost := d.dropped(bridge.QueueFull)
	pub.publish(1, own(sessions-1), "small")
	assert.Equal(t, lost, d.dropped(bridge.QueueFull), "who has nothing waiting gets its message")
	there := d.join(connect{id: "there"})
	there.subscribe(1, "there")
	pub.publish(1, "there", strings.Repeat("x", 64_000))
	assert.Len(t, there.message().Payload, 64_000, "and who takes it, whatever its size")

	size := func() int64 {
		info, err := os.Stat(filepath.Join(d.dir, "broker.db"))
		require.NoError(t, err)
		return info.Size()
	}
	first := size()
	assert.Less(t, first, int64(3*limit))
	for range 3 { // all is read, and sent again
		for i := range sessions {
			c := d.join(connect{id: fmt.Sprint("away", i), dirty: true})
			c.messages()
			c.messages()
			c.ping()
			c.nc.Close()
		}
		require.Eventually(t, func() bool { return d.broker.Stats().Connections == 2 }, 5*time.Second, time.Millisecond)
		for range 10 {
			for i := range sessions - 1 {
				pub.publish(1, own(i), strings.Repeat("x", 64_000))
			}
		}
	}
	assert.Less(t, size(), first*3/2, "freed pages are used again")

	before, _, _ := d.broker.HeldBytes()
	d.restart()
	after, _, _ := d.broker.HeldBytes()
	assert.InDelta(t, before, after, 128<<10)
	d.change = func(o *mqtt.Options) { o.MQTTQueueBytes = limit / 4 }
	grown = grows(t, d.restart)
	assert.Less(t, grown, 0, "a smaller limit holds at the start too")
	queues, _, _ = d.broker.HeldBytes()
	assert.LessOrEqual(t, queues, limit/4)
	c := d.join(connect{id: "away0", dirty: true})
	assert.NotEmpty(t, c.messages(), "the first in line kept theirs")
}

func TestSubscriptionsAreBoundedByWhatTheyTake(t *testing.T) {
	const limit = 8 << 20
	h := build(t, func(o *mqtt.Options) { o.MQTTSubscriptionBytes = limit })
	deep := func(who, i int) string { return fmt.Sprint(who, "/", i, strings.Repeat("/x", 197)) }
	taken, refused := 0, 0
	before := harness.Heap(t)
	var all []*client
	for who := range 10 {
		c := h.join(connect{id: fmt.Sprint("c", who), version: 5})
		all = append(all, c)
		for i := range 2000 {
			if c.subscribe(0, deep(who, i))[0] < 0x80 {
				taken++
			} else {
				refused++
			}
		}
	}
	grown := harness.Heap(t) - before
	_, counted, _ := h.broker.HeldBytes()
	assert.Positive(t, refused)
	assert.LessOrEqual(t, counted, limit)
	assert.LessOrEqual(t, grown, limit*5/4)
	assert.GreaterOrEqual(t, grown, limit*3/5, "%d taken", taken)
	assert.Equal(t, refused, h.dropped(bridge.Limit))
	old := h.join(connect{id: "old", version: 4})
	assert.Equal(t, []byte{0x80}, old.subscribe(0, strings.Repeat("y/", 199)+strings.Repeat("y", 20_000)))
	for _, c := range all {
		c.nc.Close()
	}
	require.Eventually(t, func() bool { return h.broker.Stats().Sessions == 1 }, 5*time.Second, time.Millisecond)
	require.Eventually(t, func() bool { _, n, _ := h.broker.HeldBytes(); return n < 4096 }, 5*time.Second, time.Millisecond)
	assert.Zero(t, old.subscribe(0, strings.Repeat("y/", 199))[0], "there is room again")
}

func TestRetainedMessagesTakeWhatIsCounted(t *testing.T) {
	const limit = 8 << 20
	for name, message := range map[string]func(i int) packets.Packet{
		"a house": func(i int) packets.Packet {
			return packets.Packet{TopicName: fmt.Sprintf("tele/plug%05d/SENSOR", i), Payload: make([]byte, 150)}
		},
		"deep": func(i int) packets.Packet {
			return packets.Packet{TopicName: fmt.Sprint(i, strings.Repeat("/x", 198)), Payload: []byte("x")}
		},
		"many properties": func(i int) packets.Packet {
			pk := packets.Packet{TopicName: fmt.Sprint("p/", i), Payload: []byte("x")}
			for range 200 {
				pk.Properties.User = append(pk.Properties.User, packets.UserProperty{Key: "k", Val: "v"})
			}
			return pk
		},
		"large": func(i int) packets.Packet {
			return packets.Packet{TopicName: fmt.Sprint("l/", i), Payload: make([]byte, 50_000)}
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDisk(t, func(o *mqtt.Options) { o.MQTTRetainedBytes = limit })
			pub := d.join(connect{id: "p", version: 5})
			before := settled(t)
			full := false
			for i := 0; !full; i++ {
				pk := message(i)
				pk.FixedHeader.Qos, pk.FixedHeader.Retain = 1, true
				full = pub.publishPacket(pk) != 0
			}
			sub := d.join(connect{id: "s", version: 5})
			sub.subscribe(0, "#")
			sub.messages()
			sub.messages()
			_, routes := d.broker.RoutesCached()
			d.written() // or what the disk has yet to take counts too
			grown := settled(t) - before - routes
			_, _, counted := d.broker.HeldBytes()
			assert.InDelta(t, limit, counted, limit/8)
			assert.InDelta(t, 1, float64(counted)/float64(grown), 0.25, "%d counted, %d grown", counted, grown)
			d.restart()
			_, _, again := d.broker.HeldBytes()
			assert.InDelta(t, counted, again, float64(limit/16))
		})
	}
}

// A body that waits for many sessions counts once.
func TestABodyCountsOnce(t *testing.T) {
	const limit, sessions, messages = 32 << 20, 200, 400
	d := build(t, func(o *mqtt.Options) { o.MQTTQueueBytes = limit })
	d.away(sessions, same)
	pub := d.join(connect{id: "p"})
	grown := grows(t, func() {
		for range messages {
			pub.publish(1, "all", strings.Repeat("x", 10_000))
		}
	})
	assert.Zero(t, d.dropped(bridge.QueueFull), "%d MB in all, if each had its own", sessions*messages*10_000>>20)
	queues, _, _ := d.broker.HeldBytes()
	assert.InDelta(t, 1, float64(queues)/float64(grown), 0.35, "%d counted, %d grown", queues, grown)
}

// Encodings for clients that do not acknowledge count too. A client that takes everything
// leaves no count behind.
func TestWhatIsInFlightIsCounted(t *testing.T) {
	const limit = 16 << 20
	d := newDisk(t, func(o *mqtt.Options) { o.MQTTQueueBytes = limit })
	for i := range 40 {
		c := d.join(connect{id: fmt.Sprint("s", i), version: []byte{4, 5}[i%2], dirty: true, props: lasting5})
		c.subscribe(1, "all", own(i))
		if i >= 20 {
			go func() { // reads and acknowledges
				for {
					pk, err := c.next()
					if err != nil {
						return
					}
					_, _ = c.nc.Write([]byte{packets.Puback << 4, 2, byte(pk.PacketID >> 8), byte(pk.PacketID)})
				}
			}()
		} else {
			go func() { _, _ = io.Copy(io.Discard, c.nc) }()
		}
	}
	pub := d.join(connect{id: "p"})
	grown := grows(t, func() {
		for range 150 {
			pub.publish(1, "all", strings.Repeat("x", 40_000))
		}
	})
	queues, _, _ := d.broker.HeldBytes()
	assert.LessOrEqual(t, queues, limit)
	assert.LessOrEqual(t, grown, limit*5/4)
}
