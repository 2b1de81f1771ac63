package mqtt_test

import (
	"bytes"
	"errors"
	"net"
	"os"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/mqtt"
)

// A packet has one timeout from its first byte to its last, whatever the keep-alive is.
func TestAPacketThatDripsEnds(t *testing.T) {
	t.Parallel()
	h := build(t, func(o *mqtt.Options) { o.SetPacketTimeout(500 * time.Millisecond) })
	for _, keep := range []uint16{0, 60} {
		c := h.join(connect{id: "drip", version: 5, keep: keep})
		begun := time.Now()
		c.raw([]byte{packets.Publish << 4, 0xff, 0x07}) // of 1,023 bytes
		drip := time.NewTicker(10 * time.Millisecond)
		defer drip.Stop()
		for range drip.C {
			require.Less(t, time.Since(begun), 10*time.Second)
			_, err := c.nc.Write([]byte{0})
			_ = c.nc.SetReadDeadline(time.Now().Add(time.Millisecond))
			if _, readErr := c.nc.Read(make([]byte, 100)); err != nil || !errors.Is(readErr, os.ErrDeadlineExceeded) {
				break
			}
		}
		assert.Greater(t, time.Since(begun), 400*time.Millisecond, "keep-alive %d", keep)
	}
}

// A large packet has more time. A client that is silent in the middle of one is closed by its
// keep-alive.
func TestALargePacketHasLonger(t *testing.T) {
	t.Parallel()
	h := build(t, func(o *mqtt.Options) { o.SetPacketTimeout(200 * time.Millisecond) })
	var b bytes.Buffer
	pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: 1}, ProtocolVersion: 4, PacketID: 1, TopicName: "own", Payload: make([]byte, 40_000)}
	require.NoError(t, pk.PublishEncode(&b))
	c := h.join(connect{id: "slow"})
	begun := time.Now()
	c.raw(b.Bytes()[:20_000])
	for range 2 { // small packets of others time out as usual
		small := h.join(connect{id: "small"})
		small.raw([]byte{packets.Publish << 4, 5, 0})
		small.ended()
	}
	c.raw(b.Bytes()[20_000:])
	c.read(packets.Puback)
	assert.Greater(t, time.Since(begun), 390*time.Millisecond)

	silent := h.join(connect{id: "silent", keep: 1})
	silent.raw(b.Bytes()[:20_000])
	begun = time.Now()
	silent.ended()
	assert.WithinDuration(t, begun.Add(1500*time.Millisecond), time.Now(), 900*time.Millisecond)
}

// Before CONNECT is accepted, memory grows with the bytes that arrive, not with the length
// that a packet claims.
func TestAClaimTakesNoMemory(t *testing.T) {
	t.Parallel()
	h := build(t, nil)
	var nc net.Conn
	_, nc = h.plain()
	_, err := nc.Write([]byte{packets.Connect << 4, 0xff, 0xff, 0x7f})
	require.NoError(t, err)
	require.NoError(t, nc.SetReadDeadline(time.Now().Add(10*time.Second)))
	_, err = nc.Read(make([]byte, 1))
	assert.NotErrorIs(t, err, os.ErrDeadlineExceeded, "it is closed by its header")
}
