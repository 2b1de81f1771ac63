package mqtt_test

import (
	"encoding/binary"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
	"github.com/stretchr/testify/require"

	"watchtower/mqtt"
)

// The conformance tests are written from the OASIS specifications, not from the code. They
// name the statement that they check by its number in MQTT 5, or with 3.1.1 in front by that
// in MQTT 3.1.1.

// versions runs a test for MQTT 3.1.1 and for MQTT 5.
func versions(t *testing.T, test func(t *testing.T, version byte)) {
	t.Helper()
	t.Run("3.1.1", func(t *testing.T) { test(t, 4) })
	t.Run("5", func(t *testing.T) { test(t, 5) })
}

// lasting is a client whose session outlives its connection.
func lasting(id string, version byte) connect {
	o := connect{id: id, version: version, dirty: true}
	if version == 5 {
		o.props = expiry(100)
	}
	return o
}

func expiry(seconds uint32) packets.Properties {
	return packets.Properties{SessionExpiryInterval: seconds, SessionExpiryIntervalFlag: true}
}

func lastWill(topic string) *packets.ConnectParams {
	return &packets.ConnectParams{WillTopic: topic, WillPayload: []byte("bye"), WillQos: 1}
}

// left waits until only n connections are left, and the others are cleaned up.
func (h *house) left(n int) {
	h.t.Helper()
	require.Eventually(h.t, func() bool { return h.broker.Stats().Connections == n }, 5*time.Second, time.Millisecond)
}

// lose breaks one of n+1 connections.
func (h *house) lose(c *client, n int) {
	h.t.Helper()
	c.nc.Close()
	h.left(n)
}

// clock runs like the system's, some time ahead.
type clock struct{ ahead atomic.Int64 }

func (c *clock) pass(d time.Duration)       { c.ahead.Add(int64(d)) }
func (c *clock) now() time.Time             { return time.Now().Add(time.Duration(c.ahead.Load())) }
func (c *clock) use(o *mqtt.Options)        { o.Now = c.now }
func (c *client) retain(topic, body string) { c.retainAt(1, topic, body) }

func (c *client) retainAt(qos byte, topic, body string) {
	c.t.Helper()
	c.publishPacket(packets.Packet{FixedHeader: packets.FixedHeader{Qos: qos, Retain: true}, TopicName: topic, Payload: []byte(body)})
}

// bodies returns the payloads of all messages that were sent.
func (c *client) bodies() (bodies []string) {
	c.t.Helper()
	for _, pk := range c.all() {
		bodies = append(bodies, string(pk.Payload))
	}
	return bodies
}

// all returns every PUBLISH that was sent.
func (c *client) all() []packets.Packet {
	c.t.Helper()
	for range 2 { // an answer may overtake messages, but not those before the last answer
		c.ping()
	}
	got := c.early
	c.early = nil
	for _, pk := range got {
		if pk.FixedHeader.Qos > 0 {
			c.ack(pk.PacketID)
		}
	}
	return got
}

// frame encodes a packet.
func frame(first byte, parts ...[]byte) []byte {
	var body []byte
	for _, p := range parts {
		body = append(body, p...)
	}
	return append(append([]byte{first}, varint(len(body))...), body...)
}

func varint(n int) (b []byte) {
	for ; n >= 0x80; n >>= 7 {
		b = append(b, byte(n)|0x80)
	}
	return append(b, byte(n))
}

// text is a string or binary data with its length.
func text(s string) []byte { return append(u16(uint16(len(s))), s...) }

func u16(n uint16) []byte { return binary.BigEndian.AppendUint16(nil, n) }

func u32(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }

// props is the property section, which only MQTT 5 has.
func props(version byte, parts ...[]byte) []byte {
	if version != 5 {
		return nil
	}
	return frame(0, parts...)[1:]
}

func prop(id byte, value ...byte) []byte { return append([]byte{id}, value...) }

// hello is a CONNECT byte by byte, with the password of the house.
func hello(version, flags byte, id string, properties []byte, rest ...[]byte) []byte {
	parts := [][]byte{text("MQTT"), {version, flags}, u16(0), properties, text(id)}
	return frame(0x10, append(parts, rest...)...)
}

const (
	flagClean    = 0x02
	flagWill     = 0x04
	flagRetain   = 0x20
	flagPassword = 0x40
	flagUser     = 0x80
)

// answer reads the next packet. ok is false if the broker ended the connection
// instead.
func (c *client) answer() (pk packets.Packet, ok bool) {
	c.t.Helper()
	_ = c.nc.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := c.r.Peek(1); err != nil {
		require.NotErrorIs(c.t, err, os.ErrDeadlineExceeded, "neither an answer nor the end")
		return pk, false
	}
	pk, err := c.next()
	require.NoError(c.t, err)
	return pk, true
}
