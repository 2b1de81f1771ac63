package harness

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/wire"
)

// Device speaks basic frames over one socket.
type Device struct {
	testing.TB
	Conn net.Conn
	In   *bufio.Reader // reads Conn; nil for datagrams
	ID   uint32
}

// Dial opens a socket to a server.
func Dial(t testing.TB, at net.Addr) *Device {
	t.Helper()
	conn, err := net.Dial(at.Network(), at.String())
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	d := &Device{TB: t, Conn: conn}
	if at.Network() == "tcp" {
		d.In = bufio.NewReader(conn)
	}
	return d
}

// Joined registers the device, joins a channel, and returns the device.
func (d *Device) Joined(channel uint32) *Device {
	d.Helper()
	d.Register()
	d.Ask(wire.Request{Op: wire.OpJoin, ID: d.ID, Channel: channel})
	return d
}

// Frame encodes a request.
func Frame(t testing.TB, r wire.Request) []byte {
	t.Helper()
	b, err := wire.AppendRequest(nil, r)
	require.NoError(t, err)
	return b
}

func (d *Device) Write(b []byte) {
	d.Helper()
	require.NoError(d, d.Conn.SetWriteDeadline(time.Now().Add(Patience)))
	_, err := d.Conn.Write(b)
	require.NoError(d, err)
}

func (d *Device) Send(r wire.Request) { d.Helper(); d.Write(Frame(d, r)) }

// Read returns the next frame. Any value for listed says that it answers an L.
func (d *Device) Read(listed ...bool) []byte {
	d.Helper()
	require.NoError(d, d.Conn.SetReadDeadline(time.Now().Add(Patience)))
	if d.In == nil {
		b := make([]byte, 65536)
		n, err := d.Conn.Read(b)
		require.NoError(d, err)
		require.NotZero(d, n, "the gateway never sends an empty datagram")
		return b[:n]
	}
	var b []byte
	for {
		n, err := wire.ReplyLength(b, len(listed) > 0)
		require.NoError(d, err)
		if n > 0 && n == len(b) {
			return b
		}
		more := make([]byte, max(1, n-len(b)))
		_, err = io.ReadFull(d.In, more)
		require.NoError(d, err)
		b = append(b, more...)
	}
}

// Ask sends a request and returns the reply.
func (d *Device) Ask(r wire.Request) []byte {
	d.Helper()
	d.Send(r)
	if r.Op == wire.OpList {
		return d.Read(true)
	}
	return d.Read()
}

func (d *Device) Register() {
	d.Helper()
	id, err := wire.ParseAnswer(d.Ask(wire.Request{Op: wire.OpRegister}))
	require.NoError(d, err)
	d.ID = id
}

func (d *Device) Say(channel uint32, data string) {
	d.Helper()
	d.Send(wire.Request{Op: wire.OpMessage, ID: d.ID, Channel: channel, Data: []byte(data)})
}

func (d *Device) Hears(sender, channel uint32, data string) {
	d.Helper()
	got, err := wire.ParseDelivery(d.Read())
	require.NoError(d, err)
	if got.Sender != sender || got.Channel != channel || got.Type != 0 || string(got.Data) != data {
		require.Equal(d, fmt.Sprint(sender, channel, 0, data), fmt.Sprint(got.Sender, got.Channel, got.Type, string(got.Data)))
	}
}

// Silent asserts that nothing was sent to the device so far: the next frame answers a W.
// The gateway answers in order.
func (d *Device) Silent() {
	d.Helper()
	assert.Equal(d, byte('W'), d.Ask(wire.Request{Op: wire.OpWhere})[0])
}

// RepeatsTheOriginal repeats a captured session of the original gateway, byte for byte. Only
// the id may differ.
func (d *Device) RepeatsTheOriginal(file string) {
	d.Helper()
	text, err := os.ReadFile(file)
	require.NoError(d, err)
	id := ""
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		if id != "" {
			line = strings.ReplaceAll(line, "fe ca ad 0b", id)
		}
		frame, err := hex.DecodeString(strings.ReplaceAll(strings.TrimSpace(line[1:]), " ", ""))
		require.NoError(d, err)
		switch {
		case line[0] == '>':
			d.Write(frame)
		case id == "":
			reply := d.Read()
			require.Len(d, reply, 5)
			id = fmt.Sprintf("% x", reply[1:])
		default:
			assert.Equal(d, frame, d.Read())
		}
	}
}
