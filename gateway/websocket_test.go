package gateway_test

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	nethttp "net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/config"
)

// The first byte of WebSocket frames: final, and of a kind (RFC 6455, 5.2).
const (
	textFrame   = 0x81
	binaryFrame = 0x82
	closeFrame  = 0x88
	pingFrame   = 0x89
)

// rawSocket is a WebSocket without a library: it says what no library would.
type rawSocket struct {
	testing.TB
	conn net.Conn
	in   *bufio.Reader
}

func openSocket(t testing.TB, address, target string, header ...string) *rawSocket {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(2*patient)))
	header = append(header, "Host: "+address, "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\n%s\r\n\r\n", target, strings.Join(header, "\r\n"))
	s := &rawSocket{t, conn, bufio.NewReader(conn)}
	resp, err := nethttp.ReadResponse(s.in, nil)
	require.NoError(t, err)
	require.Equal(t, 101, resp.StatusCode)
	return s
}

// socketTo opens a WebSocket to a channel, or to the broker as a client that it knows.
func (r *running) socketTo(door string) *rawSocket {
	r.t.Helper()
	if door == "/mqtt" {
		s := openSocket(r.t, r.at.HTTP, door, "Sec-WebSocket-Protocol: mqtt")
		s.write(masked(binaryFrame, connectAs(4, "raw", key)))
		kind, payload := s.frame()
		for kind == pingFrame { // the machine is busy
			kind, payload = s.frame()
		}
		require.Equal(r.t, byte(binaryFrame), kind)
		require.Equal(r.t, in, connack(r.t, 4, strings.NewReader(string(payload))))
		return s
	}
	return openSocket(r.t, r.at.HTTP, fmt.Sprintf("%s?channels=5&sender=%d", door, r.register("").ID))
}

// masked makes a frame as clients do, with the mask of zeros.
func masked(kind byte, payload []byte) []byte {
	b := []byte{kind}
	switch n := len(payload); {
	case n < 126:
		b = append(b, 0x80|byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 0x80|127), uint64(n))
	}
	return append(append(b, 0, 0, 0, 0), payload...)
}

// write writes as much as the gateway takes.
func (s *rawSocket) write(b []byte) { _, _ = s.conn.Write(b) }

// frame reads the next frame.
func (s *rawSocket) frame() (kind byte, payload []byte) {
	s.Helper()
	kind, payload, err := s.next()
	require.NoError(s, err)
	return kind, payload
}

func (s *rawSocket) next() (kind byte, payload []byte, err error) {
	head := make([]byte, 2)
	if _, err = io.ReadFull(s.in, head); err != nil {
		return 0, nil, err
	}
	n := uint64(head[1])
	if n == 126 {
		length := make([]byte, 2)
		_, err = io.ReadFull(s.in, length)
		n = uint64(binary.BigEndian.Uint16(length))
	}
	payload = make([]byte, n)
	if err == nil {
		_, err = io.ReadFull(s.in, payload)
	}
	return head[0], payload, err
}

// goodbye reads to the end, which has to be one in good order behind one Close frame,
// and returns its code.
func (s *rawSocket) goodbye(what string) int {
	s.Helper()
	var code int
	for closed := 0; ; {
		kind, payload, err := s.next()
		if err != nil {
			require.ErrorIs(s, err, io.EOF, "%s: no reset", what)
			require.Equal(s, 1, closed, "%s: one Close frame", what)
			return code
		}
		require.Zero(s, closed, "%s: nothing behind the Close frame, but % x", what, kind)
		if kind == closeFrame {
			closed++
			require.GreaterOrEqual(s, len(payload), 2)
			code = int(binary.BigEndian.Uint16(payload))
		}
	}
}

// Whatever is wrong with a frame is answered by one Close frame with its code, and the
// client gets to see it, also if it is saying more just then.
func TestAWebSocketEndsWithOneCloseFrame(t *testing.T) {
	t.Parallel()
	r := start(t, nil)
	long := make([]byte, 126)
	endless := append(append([]byte{textFrame, 0x80 | 127}, 0xff, 0, 0, 0, 0, 0, 0, 0), 0, 0, 0, 0)
	for _, c := range []struct {
		what   string
		frame  []byte
		stream int // the code on a stream, and to the broker
		broker int
	}{
		{"a ping of 126 bytes", masked(pingFrame, long), 1002, 1002},
		{"a reason that is not UTF-8", masked(closeFrame, []byte{0x03, 0xe8, 0xff}), 1002, 1002},
		{"a close code that nobody may send", masked(closeFrame, []byte{0x03, 0xed}), 1002, 1002},
		{"a close code out of range", masked(closeFrame, []byte{0, 1}), 1002, 1002},
		{"a kind of frame that there is not", masked(0x83, nil), 1002, 1002},
		{"reserved bits", masked(0xf1, nil), 1002, 1002},
		{"a ping in parts", masked(0x09, nil), 1002, 1002},
		{"a part of no message", masked(0x80, nil), 1002, 1002},
		{"a frame without a mask", []byte{textFrame, 1, 'x'}, 1002, 1002},
		{"a length that nothing has", endless, 1009, 1009},
		{"a message of the wrong kind on the stream", masked(binaryFrame, []byte("x")), 1003, 0},
		{"a message of the wrong kind to the broker", masked(textFrame, []byte("x")), 0, 1003},
		{"a message that is too large", masked(textFrame, make([]byte, 1<<20)), 1009, 0},
		{"goodbye", masked(closeFrame, []byte{0x03, 0xe8}), 1000, 1000},
	} {
		for door, code := range map[string]int{"/channels/join": c.stream, "/mqtt": c.broker} {
			if code == 0 {
				continue
			}
			s := r.socketTo(door)
			saying := make(chan struct{})
			go func() {
				defer close(saying)
				s.write(c.frame)
				for range 20 { // it says more without looking
					s.write(masked(textFrame, make([]byte, 50_000)))
				}
			}()
			assert.Equal(t, code, s.goodbye(c.what+", "+door), "%s, %s", c.what, door)
			s.conn.Close()
			<-saying
		}
	}
}

// An idle WebSocket of MQTT is pinged, so that no proxy takes it for dead; one on which
// something is said is not. A stream is too.
func TestIdleWebSocketsArePinged(t *testing.T) {
	t.Parallel()
	const beat = 50 * time.Millisecond
	r := start(t, func(c *config.Config) { c.HTTP.Heartbeat = beat })
	for _, door := range []string{"/mqtt", "/channels/join"} {
		s := r.socketTo(door)
		begun := time.Now()
		const pings = 4
		for range pings {
			kind, payload := s.frame()
			assert.Equal(t, byte(pingFrame), kind, door)
			assert.Empty(t, payload)
			s.write(masked(0x8a, nil))
		}
		assert.GreaterOrEqual(t, time.Since(begun), (pings-2)*beat, "%s: no oftener", door)
	}
	s := r.socketTo("/mqtt")
	answers := 0
	for begun := time.Now(); time.Since(begun) < 6*beat; answers++ {
		s.write(masked(binaryFrame, []byte{0xc0, 0})) // MQTT's own ping
		kind, _ := s.frame()
		if kind == pingFrame { // the machine was busy for so long
			continue
		}
		require.Equal(t, byte(binaryFrame), kind)
	}
	assert.Positive(t, answers)
}

// Programs on one machine are told apart in the log by their ports.
func TestTheLogHasThePortOfAnMQTTWebSocket(t *testing.T) {
	t.Parallel()
	r := start(t, nil)
	s := openSocket(t, r.at.HTTP, "/mqtt", "Sec-WebSocket-Protocol: mqtt")
	s.write(masked(binaryFrame, connectAs(4, "raw", "wrong")))
	require.Eventually(t, func() bool {
		return strings.Contains(r.log.String(), fmt.Sprintf("remote=%q", s.conn.LocalAddr().String()))
	}, patient, time.Millisecond, "a client refused")
}
