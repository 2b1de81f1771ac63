package mqtt_test

import (
	"net"
	"slices"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Many libraries leave Nagle's algorithm on. Such a client gets its own messages at QoS 1,
// and waits for each acknowledgement.
func TestAClientThatHoldsSmallSegmentsBackIsNotSlow(t *testing.T) {
	t.Parallel()
	h := build(t, nil)
	c := h.join(connect{id: "aiomqtt"})
	require.NoError(t, c.nc.(*net.TCPConn).SetNoDelay(false))
	c.subscribe(1, "own/topic")
	var took []time.Duration
	for range 41 {
		begun := time.Now()
		id := c.id()
		c.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: 1}, TopicName: "own/topic", PacketID: id, Payload: []byte("x")})
		for {
			pk, err := c.next()
			require.NoError(t, err)
			if pk.FixedHeader.Type == packets.Puback {
				break
			}
			c.ack(pk.PacketID)
		}
		took = append(took, time.Since(begun))
	}
	slices.Sort(took)
	assert.Less(t, took[len(took)*3/4], 30*time.Millisecond, "the system's delay is 40 ms")
}
