package mqtt_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
	"watchtower/mqtt"
)

// A client with a small buffer skips larger messages and acknowledges the others. It gets all
// others, however many it skips.
func TestAClientThatSkipsLargeMessagesHearsTheOthers(t *testing.T) {
	t.Parallel()
	for name, small := range map[string]func(i int) bool{
		"half of them":       func(i int) bool { return i%2 == 0 },
		"one of 200":         func(i int) bool { return i%200 == 199 },
		"many in a row":      func(i int) bool { return i%1000 == 0 },
		"the first thousand": func(i int) bool { return i < 10 || i > 1000 },
	} {
		t.Run(name, func(t *testing.T) {
			const n = 2500
			h := build(t, func(o *mqtt.Options) { o.SessionQueue, o.SessionQueueBytes = n, 1<<30 })
			c, pub := h.join(connect{id: "c"}), h.join(connect{id: "pub"})
			c.subscribe(1, "own/x")
			var want []string
			for i := range n {
				body := fmt.Sprintf("%d %s", i, strings.Repeat("x", 300))
				if small(i) {
					body = strconv.Itoa(i)
					want = append(want, body)
				}
				require.Zero(t, pub.publish(1, "own/x", body))
			}
			for _, next := range want {
				for {
					pk := c.read(packets.Publish)
					if len(pk.Payload) > 256 {
						continue
					}
					require.Equal(t, next, string(pk.Payload))
					c.ack(pk.PacketID)
					break
				}
			}
			assert.GreaterOrEqual(t, h.dropped(bridge.Failed), 512)
			lines := h.logged("messages given up")
			require.Len(t, lines, 1, "once")
			assert.Equal(t, "c", lines[0].Data["client"])
			assert.InDelta(t, 320, lines[0].Data["bytes"], 20)
		})
	}
}

// Clients that process messages in parallel acknowledge in any order, and none is given up.
func TestAcknowledgingInAnotherOrderLosesNothing(t *testing.T) {
	t.Parallel()
	h := build(t, func(o *mqtt.Options) { o.SessionQueue = 5000 })
	c, pub := h.join(lasting("c", 4)), h.join(connect{id: "pub"})
	c.subscribe(1, "own/x")
	for i := range 3000 {
		require.Zero(t, pub.publish(1, "own/x", strconv.Itoa(i)))
	}
	var slow []uint16 // 300 that stay unacknowledged
	for i := range 3000 {
		if pk := c.read(packets.Publish); i%10 == 0 {
			slow = append(slow, pk.PacketID)
		} else {
			c.ack(pk.PacketID)
		}
	}
	c.ping()
	held, _ := h.broker.Held("c")
	assert.Equal(t, len(slow), held)
	h.lose(c, 1)
	c = h.join(lasting("c", 4))
	for _, id := range slow {
		pk := c.message()
		assert.Equal(t, id, pk.PacketID)
		assert.True(t, pk.FixedHeader.Dup)
	}
	assert.Zero(t, h.dropped(bridge.Failed))
}

// A message at which a client fails five times is given up, and the next ones arrive.
func TestAMessageOverWhichAClientFailsIsGivenUp(t *testing.T) {
	t.Parallel()
	versions(t, func(t *testing.T, version byte) {
		for qos := byte(1); qos <= 2; qos++ {
			h := build(t, nil)
			c, pub := h.join(lasting("c", version)), h.join(connect{id: "pub"})
			c.subscribe(qos, "own/x")
			h.lose(c, 1)
			for _, body := range []string{"before", strings.Repeat("x", 1000), "behind", "last"} {
				require.Zero(t, pub.publish(qos, "own/x", body))
			}
			for try := range 5 {
				c = h.join(lasting("c", version))
				pk := c.read(packets.Publish)
				if try == 0 {
					require.Equal(t, "before", string(pk.Payload))
					c.ack(pk.PacketID)
					pk = c.read(packets.Publish)
				}
				require.Len(t, pk.Payload, 1000, "try %d", try)
				assert.Equal(t, try > 0, pk.FixedHeader.Dup)
				if try > 1 {
					for range 2 {
						c.ping()
					}
					assert.Empty(t, c.early, "it goes alone, so that nothing else is at fault")
				}
				h.lose(c, 1)
			}
			c = h.join(lasting("c", version))
			assert.Equal(t, []string{"behind", "last"}, c.bodies())
			assert.Equal(t, 1, h.dropped(bridge.Failed))
			lines := h.logged("message given up")
			require.Len(t, lines, 1)
			assert.Equal(t, "c", lines[0].Data["client"])
			assert.InDelta(t, 1010, lines[0].Data["bytes"], 10)
		}
	})
}

// A client that needs long for a message, or loses its connection for another reason, gets
// this message and the next ones.
func TestAMessageThatIsSuspectedWrongly(t *testing.T) {
	t.Parallel()
	h := build(t, nil)
	c, pub := h.join(lasting("c", 4)), h.join(connect{id: "pub"})
	c.subscribe(1, "own/x")
	for _, body := range []string{"slow", "behind"} {
		require.Zero(t, pub.publish(1, "own/x", body))
	}
	for range 4 {
		assert.Equal(t, "slow", string(c.read(packets.Publish).Payload))
		h.lose(c, 1)
		c = h.join(lasting("c", 4))
	}
	first, begin := c.read(packets.Publish), time.Now()
	assert.Equal(t, "behind", string(c.read(packets.Publish).Payload), "after some seconds, though nobody says anything")
	assert.Greater(t, time.Since(begin), 3*time.Second)
	c.ack(first.PacketID)
	c.ping()
	h.lose(c, 1)
	c = h.join(lasting("c", 4))
	assert.Equal(t, []string{"behind"}, c.bodies())
	assert.Zero(t, h.dropped(bridge.Failed))
}
