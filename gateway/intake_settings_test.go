package gateway_test

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
	"watchtower/config"
)

// dialFrom connects from one of this machine's own addresses: 127.0.0.n.
func (r *running) dialFrom(n byte, addr string) net.Conn {
	r.t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, n)}, Timeout: patient}
	conn, err := d.Dial("tcp", addr)
	require.NoError(r.t, err)
	r.t.Cleanup(func() { conn.Close() })
	return conn
}

// doors are the protocols over TCP: how a client proves there who it is, and the answer.
var doors = map[bridge.Protocol]struct {
	addr    func(*running) string
	hello   func(*running) string
	answers string
	total   string
}{
	viaTCP: {
		func(r *running) string { return r.at.TCP }, func(*running) string { return string(basicFrame("K", byte(len(key)), key)) },
		"A", "limits.tcp_connections",
	},
	viaMQTT: {
		func(r *running) string { return r.at.MQTT }, func(*running) string { return string(mqttConnect(fmt.Sprint(time.Now().UnixNano()), 60)) },
		"\x20\x02\x00\x00", "limits.mqtt_connections",
	},
	viaIRC: {
		func(r *running) string { return r.at.IRC }, func(*running) string {
			return fmt.Sprintf("PASS :%s\r\nNICK n%d\r\nUSER n 0 * :n\r\n", key, time.Now().UnixNano())
		},
		":", "limits.irc_connections",
	},
	viaHTTP: {
		func(r *running) string { return r.at.HTTP }, func(*running) string {
			return fmt.Sprintf("POST /register HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n{\"secret_key\":%q}", len(key)+17, key)
		},
		"HTTP/1.1 200", "limits.http_connections",
	},
}

// enters reports whether a connection is let in and known. If not, it was closed.
func (r *running) enters(conn net.Conn, p bridge.Protocol) bool {
	r.t.Helper()
	door := doors[p]
	_, _ = conn.Write([]byte(door.hello(r))) // it may be closed already
	_ = conn.SetReadDeadline(time.Now().Add(patient))
	b := make([]byte, len(door.answers))
	if _, err := io.ReadFull(conn, b); err != nil {
		require.NotErrorIs(r.t, err, os.ErrDeadlineExceeded)
		return false
	}
	require.Equal(r.t, door.answers, string(b))
	return true
}

// open reports whether a connection that says nothing has been left open.
func open(conn net.Conn) bool {
	_ = conn.SetReadDeadline(time.Now().Add(time.Millisecond))
	_, err := conn.Read(make([]byte, 1))
	timeout, ok := err.(net.Error) //nolint:errorlint // a net.Conn's own
	return err == nil || ok && timeout.Timeout()
}

// A known client is never closed for another; strangers make room.
func testConnectionLimit(t *testing.T, protocol string) {
	p := map[string]bridge.Protocol{"tcp": viaTCP, "mqtt": viaMQTT, "http": viaHTTP, "irc": viaIRC}[protocol]
	r := start(t, func(c *config.Config) {
		c.Limits.TCPConnections, c.Limits.MQTTConnections, c.Limits.HTTPConnections, c.Limits.IRCConnections = 2, 2, 2, 2
	})
	addr := doors[p].addr(r)
	known, stranger := r.dialFrom(1, addr), r.dialFrom(1, addr)
	require.True(t, r.enters(known, p))
	second := r.dialFrom(2, addr)
	require.True(t, r.enters(second, p), "a stranger makes room")
	eventually(t, "the stranger is closed", func() bool { return !open(stranger) })
	assert.False(t, r.enters(r.dialFrom(3, addr), p), "nobody who is known does")
	assert.True(t, open(known))
	assert.Contains(t, r.log.String(), "("+doors[p].total+")")
	assert.Equal(t, 2, r.dropped(p, bridge.Limit))
	known.Close()
	eventually(t, "there is room again", func() bool { return r.enters(r.dialFrom(1, addr), p) })
}

func testConnectionsPerAddress(t *testing.T) {
	r := start(t, func(c *config.Config) { c.Limits.ConnectionsPerAddress = 2 })
	for p, door := range doors {
		addr := door.addr(r)
		first, stranger := r.dialFrom(1, addr), r.dialFrom(1, addr)
		require.True(t, r.enters(first, p), p)
		require.True(t, r.enters(r.dialFrom(1, addr), p), "a stranger from there makes room")
		eventually(t, "the stranger is closed", func() bool { return !open(stranger) })
		assert.False(t, r.enters(r.dialFrom(1, addr), p), "a third one over %s", p)
		assert.True(t, r.enters(r.dialFrom(2, addr), p), "another address has its own")
		assert.Positive(t, r.dropped(p, bridge.Limit))
		first.Close()
		eventually(t, "there is room again", func() bool { return r.enters(r.dialFrom(1, addr), p) })
	}
	assert.Contains(t, r.log.String(), "(limits.connections_per_address)")
	register := func(n byte) string {
		conn, err := net.DialUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, n)}, net.UDPAddrFromAddrPort(netip.MustParseAddrPort(r.at.UDP)))
		require.NoError(t, err)
		t.Cleanup(func() { conn.Close() })
		return registerByHand(t, conn, true)
	}
	assert.Equal(t, "AAE", register(1)+register(1)+register(1), "ids over UDP count too")
	assert.Equal(t, "A", register(2))
}

// testStrangersBytes has room for sixteen strangers over TCP.
func testStrangersBytes(t *testing.T) {
	r := start(t, func(c *config.Config) { c.Limits.StrangersBytes = 64 << 10 })
	known := r.dialFrom(1, r.at.TCP)
	require.True(t, r.enters(known, viaTCP))
	slow := r.dialFrom(2, r.at.TCP)
	var idle []net.Conn
	for range 40 {
		idle = append(idle, r.dialFrom(3, r.at.TCP))
	}
	left := func() (n int) {
		for _, conn := range idle {
			if open(conn) {
				n++
			}
		}
		return n
	}
	eventually(t, "the others are closed", func() bool { return left() == 15 })
	assert.True(t, open(idle[39]), "the newest is there")
	assert.True(t, r.enters(slow, viaTCP), "an address with fewer keeps its own")
	assert.True(t, open(known))
	for p := range doors {
		assert.True(t, r.enters(r.dialFrom(4, doors[p].addr(r)), p), "there is room for another over %s", p)
	}
	assert.Contains(t, r.log.String(), "(limits.strangers_bytes)")
	assert.GreaterOrEqual(t, r.dropped(viaTCP, bridge.Limit), 25)
}

// testRegisterTimeout: the first stranger to be closed is one past its time, or else one of
// the many from one address.
func testRegisterTimeout(t *testing.T) {
	for _, timeout := range []time.Duration{time.Millisecond, time.Hour} {
		r := start(t, func(c *config.Config) {
			c.Limits.RegisterTimeout, c.Limits.TCPConnections = timeout, 3
		})
		alone := r.dialFrom(1, r.at.TCP)
		require.Equal(t, byte('W'), where(t, alone))
		time.Sleep(5 * time.Millisecond) // it takes its time
		two, three := r.dialFrom(2, r.at.TCP), r.dialFrom(2, r.at.TCP)
		require.Equal(t, "WW", string([]byte{where(t, two), where(t, three)}))
		require.True(t, r.enters(r.dialFrom(3, r.at.TCP), viaTCP))
		gone := two
		if timeout == time.Millisecond {
			gone = alone
		}
		eventually(t, "it is closed", func() bool { return !open(gone) })
		left := 0
		for _, conn := range []net.Conn{alone, two, three} {
			if open(conn) {
				left++
			}
		}
		assert.Equal(t, 2, left, "after %s", timeout)
	}
}

// where sends a W, which strangers may send, and returns the first byte of the answer.
func where(t *testing.T, conn net.Conn) byte {
	t.Helper()
	_, err := conn.Write([]byte("W\x00\x00\x00\x00\x00\x00\x00"))
	require.NoError(t, err)
	b := make([]byte, 8)
	_ = conn.SetReadDeadline(time.Now().Add(patient))
	_, err = io.ReadFull(conn, b)
	require.NoError(t, err)
	return b[0]
}

// testUnfinishedBytes has room for one large packet, which always has.
func testUnfinishedBytes(t *testing.T) {
	r := start(t, func(c *config.Config) { c.Limits.UnfinishedBytes = 64 << 10 })
	client := func(name string) net.Conn {
		conn := r.dialFrom(1, r.at.MQTT)
		connect := mqttConnect(name, 60)
		connect[8], connect[1] = 5, connect[1]+1
		connect = append(connect[:12], append([]byte{0}, connect[12:]...)...) // MQTT 5, no properties
		_, err := conn.Write(connect)
		require.NoError(t, err)
		head := make([]byte, 2)
		_, err = io.ReadFull(conn, head)
		require.NoError(t, err)
		_, err = io.ReadFull(conn, make([]byte, head[1]))
		require.NoError(t, err)
		return conn
	}
	begin := append([]byte("\x30\x80\x80\x38\x00\x03own\x00"), make([]byte, 700_000)...) // of 917,504
	first, second := client("first"), client("second")
	_, err := first.Write(begin)
	require.NoError(t, err)
	eventually(t, "it has come", func() bool { _, n := r.g.Intake().Held(); return n > 500_000 })
	_, _ = second.Write(begin) // it may be refused before all is written
	_ = second.SetReadDeadline(time.Now().Add(patient))
	b := make([]byte, 3)
	_, err = io.ReadFull(second, b)
	require.NoError(t, err)
	assert.Equal(t, []byte{0xe0, b[1], 0x97}, b, "DISCONNECT, quota exceeded")
	assert.Equal(t, 1, r.dropped(viaMQTT, bridge.Limit))
	assert.Contains(t, r.log.String(), "(limits.unfinished_bytes)")
	_, err = first.Write(make([]byte, 917_504-700_000-6))
	require.NoError(t, err)
	eventually(t, "nothing is held of what is complete", func() bool { _, n := r.g.Intake().Held(); return n == 0 })
	assert.True(t, open(first))
}

func testUDPBasic(t *testing.T) {
	r := start(t, func(c *config.Config) { c.Limits.UDPBasic = 3 })
	dial := func() net.Conn {
		conn, err := net.Dial("udp", r.at.UDP)
		require.NoError(t, err)
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	var speaking []net.Conn
	for range 2 {
		conn := dial()
		require.Equal(t, "A", registerByHand(t, conn, true))
		speaking = append(speaking, conn)
	}
	require.Equal(t, "A", registerByHand(t, dial(), false))
	require.Equal(t, "A", registerByHand(t, dial(), true), "what has not been used makes room")
	assert.Equal(t, "E", registerByHand(t, dial(), true), "what has been does not")
	assert.Equal(t, "A", registerByHand(t, speaking[0], true), "who is there gets his id again")
	assert.Equal(t, 2, r.dropped(viaUDP, bridge.Limit))
}

// registerByHand returns the first byte of the answer to a K, and uses the id once if
// that is wanted.
func registerByHand(t *testing.T, conn net.Conn, use bool) string {
	t.Helper()
	b := make([]byte, 100)
	ask := func(frame []byte) int {
		_, err := conn.Write(frame)
		require.NoError(t, err)
		_ = conn.SetReadDeadline(time.Now().Add(patient))
		n, err := conn.Read(b)
		require.NoError(t, err)
		return n
	}
	n := ask(basicFrame("K", byte(len(key)), key))
	answer := string(b[:1])
	if use && n == 5 {
		ask(basicFrame("P", append([]byte(nil), b[1:5]...)))
		require.Equal(t, byte('A'), b[0])
	}
	return answer
}
