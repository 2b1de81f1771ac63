package device

import (
	"context"
	"encoding/hex"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"watchtower/wire/frame"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// script plays the gateway's part of the conversation in testdata, which an independent
// script made. It expects each frame of the device, to the byte, and answers it.
type script struct {
	*testing.T
	conn   *net.UDPConn
	secret string
	key    *frame.Key // the device's own; nil: the one of the secret
	lines  []line
	at     atomic.Int64
	done   chan struct{}
}

type line struct {
	device  bool
	raw     []byte
	meaning string
}

// newScript returns the script of a file from the first frame whose meaning begins with
// from.
func newScript(t *testing.T, file, from string) *script {
	text, err := os.ReadFile("../testdata/session/" + file)
	require.NoError(t, err)
	s := &script{T: t, done: make(chan struct{})}
	for l := range strings.Lines(string(text)) {
		l, meaning, _ := strings.Cut(strings.TrimSpace(l), "  # ")
		what, value, _ := strings.Cut(l, " ")
		raw, _ := hex.DecodeString(value)
		switch {
		case what == "secret":
			s.secret = value
		case what == "psk" && file == "hidden.txt":
			key := frame.Key(raw)
			s.key = &key
		case meaning == "register lamp by the key that all share", meaning == "this name has a key of its own": // another device
		case what == "!" && len(s.lines) > 0 && !s.lines[len(s.lines)-1].device && s.lines[len(s.lines)-1].raw[0] == 'm':
			s.lines = s.lines[:len(s.lines)-1] // that delivery was lost
		case what[:min(1, len(what))] == ">" || what[:min(1, len(what))] == "<":
			s.lines = append(s.lines, line{what[0] == '>', raw, meaning})
		}
	}
	for !strings.HasPrefix(s.lines[0].meaning, from) {
		s.lines = s.lines[1:]
	}
	s.conn, err = net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	go s.run()
	t.Cleanup(func() {
		s.conn.Close()
		<-s.done
	})
	return s
}

func (s *script) run() {
	defer close(s.done)
	b := make([]byte, 2000)
	for i := 0; i < len(s.lines); {
		n, from, err := s.conn.ReadFromUDP(b)
		if err != nil {
			return
		}
		if !assert.Equal(s, hex.EncodeToString(s.lines[i].raw), hex.EncodeToString(b[:n]), s.lines[i].meaning) {
			return
		}
		for i++; i < len(s.lines) && !s.lines[i].device; i++ {
			_, _ = s.conn.WriteToUDP(s.lines[i].raw, from)
		}
		s.at.Store(int64(i))
	}
}

// after waits until the device has sent the frame with that meaning.
func (s *script) after(meaning string) {
	require.Eventually(s, func() bool {
		i := s.at.Load()
		return i > 0 && (strings.HasPrefix(s.lines[i-1].meaning, meaning))
	}, 30*time.Second, time.Millisecond, meaning)
}

func (s *script) options(name string) Options {
	return Options{
		Secret: s.secret, Key: s.key, Own: s.key != nil, Hidden: s.key != nil, Name: name, MaxDatagram: 100, Acknowledge: true, RetryGap: time.Hour,
		Nonce: func() [8]byte { return [8]byte{1, 2, 3, 4, 5, 6, 7, 8} },
	}
}

func TestVectors(t *testing.T) {
	for _, file := range []string{"vectors.txt", "hidden.txt"} {
		t.Run(file, func(t *testing.T) { testVectors(t, file) })
	}
}

func testVectors(t *testing.T, file string) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	s := newScript(t, file, "register lamp")
	c, err := Dial(ctx, "udp", s.conn.LocalAddr().String(), s.options("lamp"))
	require.NoError(t, err)
	assert.EqualValues(t, 0x0badcafe, c.ID())
	hear := func(want Message) {
		t.Helper()
		want.Sender, want.Channel = c.ID(), 7
		select {
		case m := <-c.Messages():
			assert.Equal(t, want, m)
		case <-ctx.Done():
			require.Fail(t, "nothing heard")
		}
		s.after("delivered")
	}
	refused := func(err error, code frame.Code) {
		t.Helper()
		var r Refused
		require.ErrorAs(t, err, &r)
		assert.Equal(t, code, r.Code)
	}
	require.NoError(t, c.Join(ctx, 7, 300))
	list, err := c.Channels(ctx)
	require.NoError(t, err)
	assert.Equal(t, []uint32{7, 300}, list)
	list, err = c.Members(ctx, 7)
	require.NoError(t, err)
	assert.Equal(t, []uint32{c.ID()}, list)
	require.NoError(t, c.Broadcast(ctx, Text, []byte("hello"), 7))
	hear(Message{Hint: Text, Data: []byte("hello")})
	require.NoError(t, c.Send(ctx, JSON, []byte(`{"on":true}`), []uint32{c.ID()}, 7))
	hear(Message{Hint: JSON, Targeted: true, Data: []byte(`{"on":true}`)})
	require.NoError(t, c.Tell(ctx, Opaque, []byte(strings.Repeat("x", 80)), 7))
	hear(Message{Truncated: true, Data: []byte(strings.Repeat("x", 70))})
	require.NoError(t, c.Leave(ctx, 300, 9))
	refused(c.Broadcast(ctx, Opaque, []byte("x"), 300), frame.NotJoined)
	refused(c.Send(ctx, Opaque, []byte("x"), []uint32{1}, 7), frame.NotOnChannel)
	refused(c.Join(ctx, 0), frame.BadRequest)
	refused(c.Join(ctx, 8, 9, 10), frame.Full)
	_, err = c.request(ctx, 'z', 0, nil)
	refused(err, frame.NotSupported)
	require.NoError(t, c.Ping(ctx))
	require.NoError(t, c.Sleep(ctx, 10*time.Minute))
	require.NoError(t, c.Ping(ctx))
	require.NoError(t, c.Rebind(ctx))
	require.NoError(t, c.Join(ctx, 9))
	require.NoError(t, c.Close(ctx))
	assert.Zero(t, c.Dropped())
}

func TestARefusedRegistration(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	s := newScript(t, "vectors.txt", "register by what")
	_, err := Dial(ctx, "udp", s.conn.LocalAddr().String(), s.options("a lamp"))
	assert.Equal(t, Refused{Op: frame.Register, Code: frame.BadRequest}, err)
	assert.ErrorContains(t, err, "malformed")
}
