package mqtt_test

import (
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
	"watchtower/mqtt"
)

// heap is what the heap holds once it was collected.
func heap() int {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// settled is the heap once it does not shrink any more: what is being written to
// the disk takes memory for as long as that takes.
func settled() int {
	for last := heap(); ; {
		time.Sleep(50 * time.Millisecond) // several times as long as between two groups
		now := heap()
		if now > last-32<<10 {
			return now
		}
		last = now
	}
}

// grows returns by how much the heap grows while f runs.
func grows(f func()) int {
	before := settled()
	f()
	return settled() - before
}

// away are sessions that have subscribed and left.
func (h *house) away(n int, filter func(i int) string) {
	for i := range n {
		c := h.join(connect{id: fmt.Sprint("away", i), dirty: true})
		require.Equal(h.t, []byte{1}, c.subscribe(1, filter(i)))
		c.nc.Close()
	}
	require.Eventually(h.t, func() bool { return h.broker.Stats().Connections == 0 }, 5*time.Second, time.Millisecond)
}

func own(i int) string { return fmt.Sprint("own/", i) }
func same(int) string  { return "all" }

// A body that waits for many is there once.
func TestABodyCountsOnce(t *testing.T) {
	const limit, sessions, messages = 32 << 20, 200, 400
	d := build(t, func(o *mqtt.Options) { o.MQTTQueueBytes = limit })
	d.away(sessions, same)
	pub := d.join(connect{id: "p"})
	grown := grows(func() {
		for range messages {
			pub.publish(1, "all", strings.Repeat("x", 10_000))
		}
	})
	assert.Zero(t, d.dropped(bridge.QueueFull), "%d MB in all, if each had its own", sessions*messages*10_000>>20)
	queues, _, _ := d.broker.HeldBytes()
	assert.InDelta(t, 1, float64(queues)/float64(grown), 0.35, "%d counted, %d grown", queues, grown)
}

// What is encoded for clients that do not acknowledge counts as well, and what a
// client is sent that takes it all leaves nothing behind.
func TestWhatIsInFlightIsCounted(t *testing.T) {
	const limit = 16 << 20
	d := newDisk(t, func(o *mqtt.Options) { o.MQTTQueueBytes = limit })
	for i := range 40 {
		c := d.join(connect{id: fmt.Sprint("s", i), version: []byte{4, 5}[i%2], dirty: true, props: lasting5})
		c.subscribe(1, "all", own(i))
		if i >= 20 {
			go func() { // takes and acknowledges
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
	grown := grows(func() {
		for range 150 {
			pub.publish(1, "all", strings.Repeat("x", 40_000))
		}
	})
	queues, _, _ := d.broker.HeldBytes()
	assert.LessOrEqual(t, queues, limit)
	assert.LessOrEqual(t, grown, limit*5/4)
}

func TestOneSessionHasAShareOfTheSubscriptions(t *testing.T) {
	h := build(t, func(o *mqtt.Options) { o.MQTTSubscriptionBytes = 1 << 20 })
	greedy, modest := h.join(connect{id: "greedy", version: 5}), h.join(connect{id: "modest", version: 5})
	for i := 0; ; i++ {
		if code := greedy.subscribe(0, fmt.Sprint("g/", i))[0]; code != 0 {
			assert.Equal(t, packets.ErrQuotaExceeded.Code, code)
			assert.Greater(t, i, 200)
			break
		}
	}
	assert.Zero(t, modest.subscribe(0, "m")[0])
	greedy.unsubscribe("g/0")
	assert.Zero(t, greedy.subscribe(0, "g/0")[0])
}
