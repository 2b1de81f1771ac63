package tcp_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
	"watchtower/internal/harness"
	"watchtower/tcp"
	"watchtower/wire"
)

// TestTheOriginalsSession repeats a captured session, byte for byte. Only the id is
// chosen by the gateway.
func TestTheOriginalsSession(t *testing.T) {
	start(t, bridge.Options{}, nil).dial(t).RepeatsTheOriginal("../testdata/wire/session-original.hex")
}

func TestRequestsAndReplies(t *testing.T) {
	g := start(t, bridge.Options{SecretKey: "hunter2"}, nil)
	c := g.dial(t)
	assert.Equal(t, "E", string(c.Ask(wire.Request{Op: wire.OpRegister})), "R wants an open gateway")
	assert.Equal(t, "E", string(c.Ask(wire.Request{Op: wire.OpKey, Key: []byte("wrong")})))
	reply := c.Ask(wire.Request{Op: wire.OpKey, Key: []byte("hunter2")})
	id, err := wire.ParseAnswer(reply)
	require.NoError(t, err)
	assert.Equal(t, reply, c.Ask(wire.Request{Op: wire.OpKey, Key: []byte("hunter2")}), "the same id again")
	where := wire.Where{Version: 1, TCPPort: g.server.Port(), Gateway: 0xa1b2c3d4}
	assert.Equal(t, wire.AppendWhere(nil, where), c.Ask(wire.Request{Op: wire.OpWhere}))
	assert.Equal(t, wire.AppendAnswer(nil, 5), c.Ask(wire.Request{Op: wire.OpJoin, ID: id, Channel: 5}))
	assert.Equal(t, wire.AppendList(nil, []uint32{5}), c.Ask(wire.Request{Op: wire.OpList, ID: id}))
	for _, r := range []wire.Request{
		{Op: wire.OpJoin, ID: id},
		{Op: wire.OpQuit, ID: id},
		{Op: wire.OpJoin, ID: id + 1, Channel: 5},
		{Op: wire.OpMessage, ID: id, Channel: 6, Data: []byte("x")},
		{Op: wire.OpSend, ID: id, Channel: 5, Data: []byte("x")},
	} {
		assert.Equal(t, "E", string(c.Ask(r)), "%c stays open", r.Op)
	}
	assert.Equal(t, reply, c.Ask(wire.Request{Op: wire.OpKeepAlive, ID: id}))
	assert.Equal(t, wire.AppendAnswer(nil, 5), c.Ask(wire.Request{Op: wire.OpQuit, ID: id, Channel: 5}))
	assert.Equal(t, wire.AppendList[uint32](nil, nil), c.Ask(wire.Request{Op: wire.OpList, ID: id}))
}

func TestFramesInPiecesAndBackToBack(t *testing.T) {
	g := start(t, bridge.Options{}, nil)
	c := g.dial(t)
	c.Register()
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	var stream []byte
	want := 0
	for _, size := range []int{0, 1, 5, 300, 4083, 4084, 4096, 9000} { // around the read buffer
		stream = append(stream, "\n\r\x00\x00"...)
		stream = append(stream, harness.Frame(t, wire.Request{Op: wire.OpJoin, ID: c.ID, Channel: 7})...)
		stream = append(stream, harness.Frame(t, wire.Request{
			Op: wire.OpSend, ID: c.ID, Channel: 7, Receivers: wire.AppendIDs(nil, slicesOf(c.ID, 255)...),
			Data: []byte(strings.Repeat(string(all), 1+size/256)[:size]),
		})...)
		want += 5 + 15 + size
	}
	for name, write := range map[string]func(){
		"at once": func() { c.Write(stream) },
		"byte by byte": func() {
			for i := range stream {
				c.Write(stream[i : i+1])
			}
		},
		"in odd pieces": func() {
			for b := stream; len(b) > 0; {
				n := min(len(b), 1021)
				c.Write(b[:n])
				b = b[n:]
			}
		},
	} {
		go write()
		got := make([]byte, want)
		require.NoError(t, c.conn.SetReadDeadline(time.Now().Add(patience)))
		_, err := io.ReadFull(c.In, got)
		require.NoError(t, err, name)
		answers, data := 0, 0
		for len(got) > 0 {
			n, err := wire.ReplyLength(got, false)
			require.NoError(t, err)
			if got[0] == 'A' {
				answers++
			} else {
				d, err := wire.ParseDelivery(got[:n])
				require.NoError(t, err)
				require.Equal(t, strings.Repeat(string(all), 1+len(d.Data)/256)[:len(d.Data)], string(d.Data))
				data += len(d.Data)
			}
			got = got[n:]
		}
		assert.Equal(t, 8, answers, name)
		assert.Equal(t, want-8*20, data, name)
	}
}

func slicesOf(id uint32, n int) []uint32 {
	ids := make([]uint32, n)
	for i := range ids {
		ids[i] = id
	}
	return ids
}

func TestWhatEndsAConnection(t *testing.T) {
	g := start(t, bridge.Options{}, nil)
	for said, last := range map[string]string{
		"Z": "E", "{": "E", "`": "E", "\xff": "E",
		"M12345678\x01\xfa\x00\x00":                            "E", // 64,001 bytes
		"M12345678\xff\xff\xff\xff" + strings.Repeat("x", 9e5): "E",
		"S12345678\x00\xff\xff\xff\xff":                        "E",
		"A":                                                    "", "A1234": "", "E": "",
		"W\x01\xd9\x0b\x01\x02\x03\x04": "",
	} {
		c := g.joined(t, 7)
		c.Write([]byte(said))
		assert.Equal(t, last, c.closed(), "%.20q", said)
		c.conn.Close()
	}
	harness.Eventually(t, func() bool { return g.senders() == 0 })
	assert.Equal(t, 11, g.dropped(bridge.Malformed))
}

func TestEveryFirstByte(t *testing.T) {
	g := start(t, bridge.Options{}, nil)
	for i := range 256 {
		c := g.dial(t)
		c.Write([]byte{byte(i)})
		require.NoError(t, c.conn.CloseWrite())
		want := "E"
		switch {
		case byte(i) == 'R':
			want = "A1234"
		case strings.ContainsRune("AEKJQLMSPW\x00\n\r", rune(i)):
			want = "" // never answered, not a whole frame, or no frame at all
		case byte(i) >= 'a' && byte(i) <= 'z':
			want = "" // not a whole frame
		}
		assert.Len(t, c.closed(), len(want), "%q", rune(i))
	}
}

func TestBasicFramesCanBeTurnedOff(t *testing.T) {
	g := start(t, bridge.Options{}, func(o *tcp.Options) { o.Basic = false })
	c := g.dial(t)
	c.Write([]byte("R"))
	assert.Equal(t, "E", c.closed())
}

func TestBroadcastsReachEveryMemberInOrder(t *testing.T) {
	g := start(t, bridge.Options{}, func(o *tcp.Options) { o.Queue = 5000 })
	members := make([]*client, 20)
	for i := range members {
		members[i] = g.joined(t, 7)
	}
	stranger := g.joined(t, 8)
	go func() {
		for i := range 2000 {
			members[0].Say(7, fmt.Sprint(i))
		}
	}()
	for _, m := range members {
		for i := range 2000 {
			m.Hears(members[0].ID, 7, fmt.Sprint(i))
		}
	}
	stranger.Silent()
	harness.Eventually(t, func() bool { _, out := g.hub.Counters().Messages(tcp.Protocol); return out == 40_000 })
}

func TestAMemberThatNeverReadsHoldsUpNobody(t *testing.T) {
	g := start(t, bridge.Options{}, func(o *tcp.Options) {
		o.QueueBytes, o.Queue, o.WriteTimeout = 256<<10, 100_000, time.Minute
	})
	stuck, good := g.joined(t, 7), []*client{g.joined(t, 7), g.joined(t, 7)}
	require.NoError(t, stuck.conn.SetReadBuffer(4096))
	speaker, say := g.speaker(t, 7)
	filler := strings.Repeat("x", 10_000)
	for i := range 2000 { // 20 MB: more than the sockets' buffers hold
		text := fmt.Sprint(i, filler)
		say([]byte(text))
		for _, c := range good {
			c.Hears(speaker, 7, text)
		}
	}
	assert.NotZero(t, g.dropped(bridge.QueueFull))
	assert.Zero(t, g.dropped(bridge.Disconnected))
	require.NoError(t, stuck.conn.SetLinger(0))
	stuck.conn.Close() // a reset: the gateway's write fails
	harness.Eventually(t, func() bool { return g.dropped(bridge.Disconnected) > 0 })
	assert.Equal(t, 3, g.senders())
}

func TestAWriteThatTakesTooLongEndsTheConnection(t *testing.T) {
	g := start(t, bridge.Options{}, func(o *tcp.Options) { o.WriteTimeout = 500 * time.Millisecond })
	stuck := g.joined(t, 7)
	require.NoError(t, stuck.conn.SetReadBuffer(4096))
	_, say := g.speaker(t, 7)
	harness.Eventually(t, func() bool {
		for range 10 {
			say(make([]byte, 60_000))
		}
		return g.senders() == 1
	})
}

func TestRepliesThatAreNotReadEndTheConnection(t *testing.T) {
	g := start(t, bridge.Options{}, func(o *tcp.Options) { o.Queue = 10 })
	c := g.dial(t)
	c.Register()
	asking := []byte(strings.Repeat(string(harness.Frame(t, wire.Request{Op: wire.OpWhere})), 1000))
	harness.Eventually(t, func() bool {
		_ = c.conn.SetWriteDeadline(time.Now().Add(10 * time.Millisecond))
		_, err := c.conn.Write(asking)
		return err != nil && g.senders() == 0
	})
}

func TestTimeToRegisterAndToFinishAFrame(t *testing.T) {
	const limit = 700 * time.Millisecond
	g := start(t, bridge.Options{}, func(o *tcp.Options) { o.FrameTimeout = limit })
	patient := g.joined(t, 7)
	begin := time.Now()

	silent, talking := g.dial(t), g.dial(t)
	talking.Silent() // a W does not register
	talking.Write([]byte("\n"))
	unfinished := g.joined(t, 7)
	unfinished.Write([]byte("M12"))
	trickling := g.joined(t, 7)
	stop := make(chan struct{})
	trickled := make(chan struct{})
	go func() { // a byte now and then does not help
		defer close(trickled)
		rest := harness.Frame(t, wire.Request{Op: wire.OpMessage, Channel: 7, Data: make([]byte, 60_000)})
		for i := range rest {
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
				if _, err := trickling.conn.Write(rest[i : i+1]); err != nil {
					return
				}
			}
		}
	}()
	for _, c := range []*client{silent, talking, unfinished} {
		assert.Empty(t, c.closed())
	}
	assert.GreaterOrEqual(t, time.Since(begin), limit)
	_, _ = io.ReadAll(trickling.conn)
	close(stop)
	<-trickled
	patient.Silent()
	patient.Say(7, "a registered client may be silent")
	patient.Hears(patient.ID, 7, "a registered client may be silent")
}

func TestWhoEndsLeaves(t *testing.T) {
	g := start(t, bridge.Options{}, nil)
	stays := g.joined(t, 7)
	half := g.joined(t, 7)
	half.Send(wire.Request{Op: wire.OpKeepAlive, ID: half.ID})
	require.NoError(t, half.conn.CloseWrite())
	assert.Equal(t, string(wire.AppendAnswer(nil, half.ID)), half.closed(), "what was asked is answered")
	gone := g.joined(t, 7)
	require.NoError(t, gone.conn.SetLinger(0))
	gone.conn.Close()
	harness.Eventually(t, func() bool { return g.senders() == 1 })
	reply := stays.Ask(wire.Request{Op: wire.OpSend, ID: stays.ID, Channel: 7, Receivers: wire.AppendIDs(nil, gone.ID), Data: []byte("x")})
	assert.Equal(t, "E", string(reply))
}

// A client that has closed its sending half still gets what was accepted before, its own
// message too: printf … | nc -N.
func TestWhoHasSaidItsLastStillHears(t *testing.T) {
	g := start(t, bridge.Options{}, nil)
	for range 100 {
		c := g.joined(t, 7)
		c.Write(append(harness.Frame(t, wire.Request{Op: wire.OpMessage, ID: c.ID, Channel: 7, Data: []byte("last")}),
			harness.Frame(t, wire.Request{Op: wire.OpMessage, ID: c.ID, Channel: 7, Data: []byte("words")})...))
		require.NoError(t, c.conn.CloseWrite())
		c.Hears(c.ID, 7, "last")
		c.Hears(c.ID, 7, "words")
		require.Empty(t, c.closed())
	}
	harness.Eventually(t, func() bool { return g.senders() == 0 })
}

func TestConnectionsAreLimited(t *testing.T) {
	g := start(t, bridge.Options{}, func(o *tcp.Options) { o.TCPConnections = 2 })
	a, b := g.joined(t, 7), g.joined(t, 7)
	for range 3 {
		refused, err := net.Dial("tcp", g.server.Addr().String())
		require.NoError(t, err)
		require.NoError(t, refused.SetReadDeadline(time.Now().Add(patience)))
		_, err = refused.Read(make([]byte, 1))
		assert.ErrorIs(t, err, io.EOF)
		refused.Close()
	}
	a.Silent()
	b.conn.Close()
	harness.Eventually(t, func() bool {
		c, err := net.Dial("tcp", g.server.Addr().String())
		require.NoError(t, err)
		defer c.Close()
		_, _ = c.Write([]byte("R"))
		_ = c.SetReadDeadline(time.Now().Add(patience))
		n, _ := c.Read(make([]byte, 5))
		return n == 5
	})
}

func TestQuiesceStopsRequestsAndNotDeliveries(t *testing.T) {
	g := start(t, bridge.Options{}, nil)
	idle := g.dial(t)
	c := g.joined(t, 7) // so the one before is accepted, too
	speaker, say := g.speaker(t, 7)
	g.server.Quiesce(context.Background())
	g.server.Quiesce(context.Background())
	_, err := net.Dial("tcp", g.server.Addr().String())
	assert.Error(t, err, "no new connections")
	c.Say(7, "not taken any more")
	for i := range 500 {
		say([]byte(fmt.Sprint(i)))
	}
	for i := range 250 {
		c.Hears(speaker, 7, fmt.Sprint(i))
	}
	g.stop()
	for i := range 250 {
		c.Hears(speaker, 7, fmt.Sprint(250+i))
	}
	assert.Empty(t, idle.closed())
	assert.Equal(t, 1, g.senders())
}

func TestStopFlushesWhatWaits(t *testing.T) {
	g := start(t, bridge.Options{}, nil)
	c := g.joined(t, 7)
	speaker, say := g.speaker(t, 7)
	for i := range 800 {
		say([]byte(fmt.Sprint(i)))
	}
	g.stop()
	for i := range 800 {
		c.Hears(speaker, 7, fmt.Sprint(i))
	}
}

func TestATakenPortFailsListen(t *testing.T) {
	g := start(t, bridge.Options{}, nil)
	hub, err := bridge.New(bridge.Options{})
	require.NoError(t, err)
	s := tcp.New(hub, options(g.server.Addr().String()), logrus.New())
	assert.ErrorContains(t, s.Listen(), "in use")
	assert.Error(t, s.Serve(context.Background()), "not before Listen")
}
