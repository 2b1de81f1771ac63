package tcp_test

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
	"watchtower/config"
	"watchtower/intake"
	"watchtower/internal/harness"
	"watchtower/tcp"
	"watchtower/wire"
	"watchtower/wire/frame"
)

// A frame that is too long to register is answered by its header, and skipped.
func TestALongFrameOfAStrangerIsReadPast(t *testing.T) {
	g := start(t, bridge.Options{}, nil)
	c := g.dial(t)
	long := harness.Frame(t, wire.Request{Op: wire.OpMessage, ID: 9, Channel: 5, Data: make([]byte, 60_000)})
	c.Write(long[:100])
	assert.Equal(t, "E", string(c.Read()), "before it is complete")
	c.Write(long[100:])
	key := frame.DeviceKey("")
	sealed := frame.Append(nil, frame.Frame{Op: frame.Broadcast, ID: 9, Seq: 7, Body: make([]byte, 50_000)}, key)
	c.Write(sealed)
	e := make([]byte, frame.Overhead)
	require.NoError(t, c.conn.SetReadDeadline(time.Now().Add(patience)))
	_, err := c.In.Read(e)
	require.NoError(t, err)
	assert.Equal(t, frame.AppendUnknown(nil, sealed), e)
	c.Register()
	assert.Equal(t, 0, g.dropped(bridge.Malformed), "it goes on as if nothing had been")
	c.Ask(wire.Request{Op: wire.OpJoin, ID: c.ID, Channel: 5})
	c.Send(wire.Request{Op: wire.OpMessage, ID: c.ID, Channel: 5, Data: make([]byte, 60_000)})
	assert.Len(t, c.Read(), 60_015, "and a long one after it is heard")
}

// A frame for which there is no memory ends its connection, after an answer.
func TestAFrameForWhichThereIsNoRoom(t *testing.T) {
	in := intake.New(intake.Options{Limits: config.Limits{UnfinishedBytes: 100_000}})
	hog := in.Lend(tcp.Protocol, "another")
	share := in.Lend(tcp.Protocol, "one more")
	require.True(t, hog.Take(12_000) && share.Take(12_000), "an eighth each")
	require.False(t, hog.Take(1000))
	hog.Close()
	share.Close()
	g := start(t, bridge.Options{}, func(o *tcp.Options) { o.Intake = in })
	c := g.joined(t, 5)
	c.Send(wire.Request{Op: wire.OpMessage, ID: c.ID, Channel: 5, Data: make([]byte, 12_000)})
	assert.Len(t, c.Read(), 12_015)
	header := binary.LittleEndian.AppendUint32(harness.Frame(t, wire.Request{Op: wire.OpJoin, ID: c.ID, Channel: 5}), 60_000)
	header[0] = wire.OpMessage
	c.Write(append(header, make([]byte, 30_000)...))
	assert.Equal(t, "E", c.closed())
	_, unfinished := in.Held()
	assert.Zero(t, unfinished)
}
