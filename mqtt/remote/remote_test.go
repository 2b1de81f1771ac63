package remote

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"strings"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestFilters(t *testing.T) {
	for _, c := range []struct {
		filter, topic string
		matches       bool
	}{
		{"a/b", "a/b", true}, {"a/b", "a/b/c", false}, {"a/b/c", "a/b", false}, {"a/+", "a/b", true}, {"a/+", "a", false}, {"a/+", "a/", true},
		{"+/+", "a/b", true}, {"+", "a/b", false}, {"#", "a/b", true}, {"a/#", "a", true}, {"a/#", "a/b/c", true}, {"a/#", "b", false},
		{"#", "$SYS/x", false}, {"+/x", "$SYS/x", false}, {"$SYS/#", "$SYS/x", true}, {"a//b", "a//b", true}, {"a/+/b", "a//b", true}, {"", "", true},
	} {
		assert.Equal(t, c.matches, matches(c.filter, c.topic), "%s %s", c.filter, c.topic)
	}
}

// read of a packet reads what encode has written.
func TestAPublishIsReadAsItWasWritten(t *testing.T) {
	for _, version := range []byte{version5, version3} {
		for _, size := range []int{0, 1, 127, 128, 16384, 70000} {
			for qos := range byte(2) {
				p := publish{topic: []byte("a/b"), payload: bytes.Repeat([]byte{7}, size), qos: qos, retain: size == 1}
				if version == version5 {
					p.props = appendUserProperty(appendTextProperty(appendExpiry(nil, 9), propContentType, contentJSON), "id", []byte("x"))
				}
				b, idAt := p.encode(nil, version)
				require.Equal(t, qos > 0, idAt > 0)
				if qos > 0 {
					binary.BigEndian.PutUint16(b[idAt:], 300)
				}
				r := bufio.NewReader(bytes.NewReader(b))
				assert.True(t, size > 4000 || func() bool { _, _ = r.Peek(len(b)); return whole(r) }())
				pk, err := read(r, version, 1<<20)
				require.NoError(t, err)
				assert.Equal(t, "a/b", pk.TopicName)
				assert.Equal(t, p.payload, append([]byte{}, pk.Payload...))
				assert.Equal(t, p.retain, pk.FixedHeader.Retain)
				assert.Equal(t, qos, pk.FixedHeader.Qos)
				if version == version5 {
					assert.Equal(t, contentJSON, pk.Properties.ContentType)
					assert.Equal(t, uint32(9), pk.Properties.MessageExpiryInterval)
					assert.Equal(t, []packets.UserProperty{{Key: "id", Val: "x"}}, pk.Properties.User)
				}
				_, err = read(bufio.NewReader(bytes.NewReader(b)), version, size)
				require.Error(t, err, "it is over the limit")
			}
		}
	}
}

// A PUBACK that says yes is read at once; another one, and a part of one, is left to read.
func TestAPlainAcknowledgement(t *testing.T) {
	for _, c := range []struct {
		bytes   []byte
		version byte
		id      uint16
		length  int
	}{
		{[]byte{0x40, 2, 1, 2}, version5, 258, 4}, {[]byte{0x40, 2, 1, 2, 0x40}, version3, 258, 4}, {[]byte{0x40, 2, 1}, version5, 0, 0}, {nil, version5, 0, 0},
		{[]byte{0x40, 3, 1, 2, 0x10}, version5, 258, 5}, {[]byte{0x40, 3, 1, 2}, version5, 0, 0}, {[]byte{0x40, 3, 1, 2, 0x87}, version5, 0, 0},
		{[]byte{0x40, 4, 1, 2, 0x10, 0, 0x40}, version5, 258, 6}, {[]byte{0x40, 4, 1, 2, 0x10, 3, 0x1f}, version5, 0, 0},
		{[]byte{0x40, 3, 1, 2, 0}, version3, 0, 0}, {[]byte{0x40, 1, 1, 2}, version5, 0, 0}, {[]byte{0x50, 2, 1, 2}, version5, 0, 0},
	} {
		id, n := plainAck(c.bytes, c.version)
		assert.Equal(t, c.length, n, "%x", c.bytes)
		assert.Equal(t, c.id, id, "%x", c.bytes)
	}
}

// A broker's bytes are read without a panic, and no packet takes more memory than it has.
func FuzzRead(f *testing.F) {
	for _, b := range [][]byte{{0x20, 2, 0, 0}, {0x30, 3, 0, 1, 'a'}, {0x40, 2, 0, 1}, {0x90, 3, 0, 1, 0}, {0xe0, 1, 0x8e}, {0xd0, 0}, {0x62, 2, 0, 1}} {
		f.Add(b, true)
	}
	f.Fuzz(func(t *testing.T, b []byte, new5 bool) {
		version := byte(version3)
		if new5 {
			version = version5
		}
		r := bufio.NewReader(bytes.NewReader(b))
		for {
			ready := whole(r)
			pk, err := read(r, version, 1000)
			if err != nil {
				return
			}
			if _ = ready; len(pk.Payload) > len(b) {
				t.Fatal("more than there was")
			}
		}
	})
}

// Who was there first does not depend on clocks, but for gateways that started together.
func TestTheOlderGatewayWasFirst(t *testing.T) {
	b := &Bus{run: 500}
	for _, c := range []struct {
		theirs, own time.Duration
		run         int64
		first       bool
	}{
		{time.Hour, time.Minute, 900, true}, {time.Hour, time.Minute, 100, true}, // its clock was set meanwhile
		{time.Minute, time.Hour, 100, false}, {time.Minute, time.Hour, 900, false},
		{time.Minute, time.Minute + ageApart, 100, true}, {time.Minute + ageApart, time.Minute, 900, false},
	} {
		assert.Equal(t, c.first, b.wasFirst(c.theirs, c.run, c.own), "%+v", c)
	}
}

// All that a message holds in memory counts, and what its properties are most of it.
func TestAMessagesPropertiesCount(t *testing.T) {
	p := publish{topic: []byte("t"), payload: []byte("x")}
	for range 100 {
		p.props = appendUserProperty(p.props, "key", bytes.Repeat([]byte("v"), 10_000))
	}
	b, _ := p.encode(nil, version5)
	pk, err := read(bufio.NewReader(bytes.NewReader(b)), version5, 1<<21)
	require.NoError(t, err)
	d := newDeliveries()
	lost := 0
	d.lost = func(*received) { lost++ }
	n := 0
	for d.put(receivedOf(&pk)) {
		n++
	}
	assert.Equal(t, deliveriesBytes/len(b), n)
	assert.Equal(t, 1, lost)
}

// What a check prints has no topic of another base.
func TestRulesAreForTheBase(t *testing.T) {
	for broker, rules := range Rules("home/wt", "me", "ha") {
		assert.NotContains(t, rules, "watchtower", broker)
		assert.Contains(t, rules, "me", broker)
		assert.True(t, strings.Contains(rules, "home/wt/channels") || strings.Contains(rules, `home\.wt\.channels`), broker)
	}
}
