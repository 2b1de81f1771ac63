package tcp_test

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
	"watchtower/device"
	"watchtower/internal/harness"
	"watchtower/tcp"
	"watchtower/wire"
	"watchtower/wire/frame"
	"watchtower/wire/session"
)

// sessionClient speaks session frames over one connection.
type sessionClient struct {
	*client
	reg frame.Registration
	key frame.Key
	seq uint32
}

var nonces uint64

func (g *gateway) session(t testing.TB, change func(*frame.Registration)) *sessionClient {
	c := &sessionClient{client: g.dial(t), reg: frame.Registration{Version: 1, KeepAlive: 60, MaxDatagram: 64}}
	if change != nil {
		change(&c.reg)
	}
	c.registerSession()
	return c
}

func (c *sessionClient) registerSession() {
	c.askForSession()
	f, raw := c.frame()
	require.Equal(c, frame.Answer, f.Op, "code %d", f.Code())
	r, err := frame.ParseRegistered(f.Body)
	require.NoError(c, err)
	assert.EqualValues(c, 65535, r.MaxDatagram)
	c.ID, c.seq = f.ID, 0
	c.key = frame.Key{}.SessionKey(c.reg.Options, c.reg.CNonce, c.reg.Cookie, c.ID)
	require.True(c, c.key.Verify(raw))
}

// askForSession registers, until the answer comes. It does not read the answer.
func (c *sessionClient) askForSession() {
	nonces++
	binary.LittleEndian.PutUint64(c.reg.CNonce[:], nonces)
	c.reg.Cookie = [8]byte{}
	c.Write(frame.AppendRegister(nil, c.reg, frame.Key{}))
	f, _ := c.frame()
	_, cookie, err := frame.ParseCookie(f.Body)
	require.NoError(c, err)
	c.reg.Cookie = cookie
	c.Write(frame.AppendRegister(nil, c.reg, frame.Key{}))
}

// frame reads the next session frame.
func (c *sessionClient) frame() (frame.Frame, []byte) {
	c.Helper()
	require.NoError(c, c.conn.SetReadDeadline(time.Now().Add(patience)))
	b := make([]byte, 70_000)
	_, err := io.ReadFull(c.In, b[:4])
	require.NoError(c, err)
	n := frame.Length(b[:4])
	_, err = io.ReadFull(c.In, b[4:n])
	require.NoError(c, err)
	f, err := frame.Parse(b[:n])
	require.NoError(c, err)
	return f, b[:n]
}

func (c *sessionClient) next(op frame.Op, flags byte, body []byte) []byte {
	c.seq++
	return frame.Append(nil, frame.Frame{Op: op, Flags: flags, ID: c.ID, Seq: c.seq, Body: body}, c.key)
}

// tell sends a frame, and returns the answer to it.
func (c *sessionClient) tell(op frame.Op, body []byte) frame.Frame {
	c.Helper()
	c.Write(c.next(op, frame.AckWanted, body))
	f, raw := c.frame()
	if len(f.Body) > 0 {
		require.True(c, c.key.Verify(raw))
	}
	require.Equal(c, c.seq, f.Seq)
	return f
}

func (c *sessionClient) delivered(seq uint32) {
	c.Write(frame.Append(nil, frame.Frame{Op: frame.Delivered, ID: c.ID, Seq: seq}, c.key))
}

// hear reads a delivery.
func (c *sessionClient) hear(seq uint32, data string) frame.Frame {
	c.Helper()
	f, raw := c.frame()
	require.Equal(c, frame.Delivery, f.Op)
	require.True(c, c.key.Verify(raw))
	require.Equal(c, seq, f.Seq)
	require.Equal(c, data, string(f.Body[frame.DeliveryFixed:]))
	return f
}

func broadcast(data string, channels ...uint32) []byte {
	return append(wire.AppendIDs([]byte{byte(len(channels))}, channels...), data...)
}

func TestSessionsOverTCP(t *testing.T) {
	g := start(t, bridge.Options{}, nil)
	one, two := g.session(t, nil), g.session(t, nil)
	plain := g.joined(t, 7)
	for _, c := range []*sessionClient{one, two} {
		assert.Equal(t, frame.OK, c.tell(frame.Join, wire.AppendIDs[uint32](nil, 7)).Code())
	}
	large := strings.Repeat("x", 64_000)
	one.Write(one.next(frame.Broadcast, 0, broadcast(large, 7)))
	one.hear(1, large)
	f := two.hear(1, large)
	assert.False(t, f.Truncated())
	plain.Hears(one.ID, 7, large)
	plain.Say(7, "from a basic one")
	two.hear(2, "from a basic one")
	one.hear(2, "from a basic one")

	assert.Equal(t, frame.BadRequest, one.tell(frame.Broadcast, broadcast(large+"x", 7)).Code(), "and the connection stays")
	assert.Equal(t, frame.NotSupported, one.tell('z', nil).Code())
	assert.Equal(t, frame.NotJoined, one.tell(frame.Broadcast, broadcast("x", 8)).Code())

	repeated := one.next(frame.Join, 0, wire.AppendIDs[uint32](nil, 9))
	one.Write([]byte("\r\n\x00"))
	for _, b := range repeated { // in pieces
		one.Write([]byte{b})
	}
	first, _ := one.frame()
	one.Write(repeated)
	again, _ := one.frame()
	assert.Equal(t, first.Seq, again.Seq)
	bad := append([]byte(nil), repeated...)
	bad[15] ^= 1
	one.Write(bad)
	one.Write(frame.AppendCookie(nil, [8]byte{}, [8]byte{}, one.key))
	assert.Equal(t, frame.OK, one.tell(frame.Ping, nil).Code())
	assert.Equal(t, 1, g.dropped(bridge.Forged))
	assert.Equal(t, 1, g.dropped(bridge.Malformed))

	two.ID = one.ID
	two.Write(two.next(frame.Ping, 0, nil))
	f, raw := two.frame()
	assert.Equal(t, frame.UnknownID, f.Code(), "an id belongs to its connection")
	assert.Len(t, raw, 20)
	one.ID = plain.ID
	one.Write(one.next(frame.Ping, 0, nil))
	f, _ = one.frame()
	assert.Equal(t, frame.UnknownID, f.Code())
}

func TestASessionsListsOverTCP(t *testing.T) {
	g := start(t, bridge.Options{}, nil)
	c := g.session(t, nil)
	all := make([]uint32, 15_001)
	for i := range all {
		all[i] = uint32(i + 1)
	}
	require.Equal(t, frame.OK, c.tell(frame.Join, wire.AppendIDs(nil, all...)).Code())
	more, ids, err := frame.ParseList(c.tell(frame.Channels, make([]byte, 4)).Body[1:])
	require.NoError(t, err)
	assert.True(t, more)
	assert.Equal(t, 15_000, ids.Len())
}

func TestAWindowOverTCP(t *testing.T) {
	g := start(t, bridge.Options{}, func(o *tcp.Options) { o.SessionQueue = 4 })
	c := g.session(t, func(r *frame.Registration) { r.Options = frame.Acknowledge.WithWindow(2) })
	c.tell(frame.Join, wire.AppendIDs[uint32](nil, 7))
	_, say := g.speaker(t, 7)
	for _, s := range []string{"1", "2", "3"} {
		say([]byte(s))
	}
	c.hear(1, "1")
	assert.True(t, c.hear(2, "2").AckWanted())
	harness.Eventually(t, func() bool {
		_, out := g.hub.Counters().Messages(tcp.Protocol)
		return out == 3
	}, "the third waits")
	c.Write(c.next(frame.Ping, 0, nil))
	c.delivered(2)
	c.hear(3, "3")
	c.delivered(2)
	f, _ := c.frame()
	assert.Equal(t, frame.Answer, f.Op, "after what came before it")
	for _, s := range []string{"4", "5", "6", "7"} {
		say([]byte(s))
	}
	harness.Eventually(t, func() bool { return g.dropped(bridge.QueueFull) == 2 })
	c.delivered(1)
	c.delivered(3)
	c.hear(4, "6")
	c.hear(5, "7")
	assert.Equal(t, 1, g.dropped(session.Duplicate), "the 2 that was acknowledged twice")
}

func TestSleepOverTCP(t *testing.T) {
	g := start(t, bridge.Options{}, nil)
	c := g.session(t, nil)
	c.tell(frame.Join, wire.AppendIDs[uint32](nil, 7))
	_, say := g.speaker(t, 7)
	require.Equal(t, frame.OK, c.tell(frame.Bye, []byte{100, 0}).Code())
	say([]byte("1"))
	say([]byte("2"))
	harness.Eventually(t, func() bool {
		_, out := g.hub.Counters().Messages(tcp.Protocol)
		return out == 2
	})
	c.Write(c.next(frame.Ping, 0, nil))
	c.hear(1, "1")
	c.hear(2, "2")
	f, _ := c.frame()
	assert.Equal(t, frame.Answer, f.Op)
	assert.Equal(t, frame.OK, c.tell(frame.Bye, []byte{0, 0}).Code())
	f = c.tell(frame.Ping, nil)
	assert.Equal(t, frame.UnknownID, f.Code())
	c.registerSession() // on the same connection
	assert.Equal(t, frame.OK, c.tell(frame.Ping, nil).Code())
}

func TestADeviceThatNeverAcknowledges(t *testing.T) {
	g := start(t, bridge.Options{}, nil)
	c := g.session(t, func(r *frame.Registration) { r.Options = frame.Acknowledge })
	c.tell(frame.Join, wire.AppendIDs[uint32](nil, 7))
	_, say := g.speaker(t, 7)
	say([]byte("1"))
	c.hear(1, "1")
	for range 2 { // also after it slept
		assert.Equal(t, frame.OK, c.tell(frame.Ping, nil).Code())
		assert.Equal(t, frame.OK, c.tell(frame.Bye, []byte{9, 0}).Code())
	}
}

// What is queued for a session is written when the gateway stops.
func TestSessionsAreDrained(t *testing.T) {
	g := start(t, bridge.Options{}, nil)
	c := g.session(t, nil)
	c.tell(frame.Join, wire.AppendIDs[uint32](nil, 7))
	_, say := g.speaker(t, 7)
	large := strings.Repeat("x", 64_000)
	for range 80 { // more than the system's buffers hold
		say([]byte(large))
	}
	stopped := make(chan struct{})
	go func() { g.stop(); close(stopped) }()
	harness.Eventually(t, func() bool {
		late, err := net.Dial("tcp", g.server.Addr().String())
		if err == nil {
			late.Close()
		}
		return err != nil
	}, "it stops")
	heard := 0
	for {
		if _, err := c.In.Peek(1); err != nil {
			break
		}
		c.frame()
		heard++
	}
	<-stopped
	assert.Equal(t, 80, heard+g.dropped(bridge.QueueFull))
	assert.Zero(t, g.dropped(bridge.Disconnected))
}

func TestAClientOverTCPThatIsNotReadFrom(t *testing.T) {
	g := start(t, bridge.Options{}, nil)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := device.Dial(ctx, "tcp", g.server.Addr().String(), device.Options{Acknowledge: true, Queue: 1})
	require.NoError(t, err)
	require.NoError(t, c.Join(ctx, 7))
	_, say := g.speaker(t, 7)
	for range 5 {
		say([]byte("x"))
	}
	require.NoError(t, c.Ping(ctx))
	harness.Eventually(t, func() bool { return c.Dropped() == 4 })
	require.NoError(t, c.Close(ctx))
}

func TestTheNewestOfANameOverTCP(t *testing.T) {
	g := start(t, bridge.Options{}, nil)
	lamp := func(r *frame.Registration) { r.Name = []byte("lamp") }
	one := g.session(t, lamp)
	id := one.ID
	one.registerSession() // it does not displace itself
	assert.Equal(t, id, one.ID)
	assert.Equal(t, frame.OK, one.tell(frame.Ping, nil).Code())
	two := g.session(t, lamp)
	assert.Equal(t, id, two.ID)
	assert.Empty(t, one.closed())
	assert.Equal(t, frame.OK, two.tell(frame.Ping, nil).Code())
	two.conn.Close()
	harness.Eventually(t, func() bool { return len(g.hub.Directory().Channels()) == 0 })
}

func TestASessionOverTCPEndsWithoutLife(t *testing.T) {
	g := start(t, bridge.Options{}, func(o *tcp.Options) { o.FrameTimeout = 200 * time.Millisecond })
	c := g.session(t, nil)
	assert.Empty(t, g.dial(t).closed(), "a stranger may take no longer")
	assert.Equal(t, frame.OK, c.tell(frame.Ping, nil).Code())
	assert.Equal(t, frame.OK, c.tell(frame.Bye, []byte{0, 0}).Code())
	assert.Empty(t, c.closed(), "a stranger again")
}

// The client of package device, which comes back by itself.
func TestTheClientOverTCP(t *testing.T) {
	g := start(t, bridge.Options{}, nil)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	again := make(chan uint32, 10)
	c, err := device.Dial(ctx, "tcp", g.server.Addr().String(), device.Options{Name: "lamp", Acknowledge: true, OnSession: func(id uint32) { again <- id }})
	require.NoError(t, err)
	require.NoError(t, c.Join(ctx, 7, 8))
	require.NoError(t, c.Broadcast(ctx, device.Text, []byte("hello"), 7))
	assert.Equal(t, "hello", string((<-c.Messages()).Data))
	thief := &sessionClient{client: g.dial(t), reg: frame.Registration{Version: 1, KeepAlive: 60, MaxDatagram: 64, Name: []byte("lamp")}}
	thief.askForSession() // the client may be back before the answer is
	select {
	case id := <-again:
		assert.Equal(t, c.ID(), id)
	case <-ctx.Done():
		require.Fail(t, "it did not come back")
	}
	require.NoError(t, c.Broadcast(ctx, device.Text, []byte("back"), 8))
	assert.Equal(t, "back", string((<-c.Messages()).Data))
	require.NoError(t, c.Close(ctx))
}
