package remote

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"watchtower/bridge"
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
				b, idAt := p.encode(version)
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

// A PUBACK that says yes is read at once; another one, and half of one, is left to read.
func TestAPlainAcknowledgement(t *testing.T) {
	for _, c := range []struct {
		bytes []byte
		id    uint16
		plain bool
	}{
		{[]byte{0x40, 2, 1, 2}, 258, true}, {[]byte{0x40, 2, 1, 2, 0x40}, 258, true}, {[]byte{0x40, 2, 1}, 0, false}, {nil, 0, false},
		{[]byte{0x40, 3, 1, 2, 0x87}, 0, false}, {[]byte{0x50, 2, 1, 2}, 0, false},
	} {
		r := bufio.NewReader(bytes.NewReader(c.bytes))
		_, _ = r.Peek(len(c.bytes))
		id, plain := plainAck(r)
		assert.Equal(t, c.plain, plain, "%x", c.bytes)
		assert.Equal(t, c.id, id, "%x", c.bytes)
		left := len(c.bytes)
		if plain {
			left -= 4
		}
		assert.Equal(t, left, r.Buffered(), "%x", c.bytes)
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

// box is an outbox whose time stands still.
type box struct {
	*outbox
	clock time.Duration
	lost  []bridge.Reason
	due   bool // the last packet, or one before it, could be sent at once
}

func newBox(most int) *box {
	b := &box{clock: time.Hour}
	b.outbox = newOutbox(func() time.Duration { return b.clock })
	b.version = version5
	b.begin(most, 0, version5, false)
	b.open()
	return b
}

func (b *box) add(t *testing.T, word string, qos byte, change ...func(*item)) {
	it := &item{drop: func(why bridge.Reason) { b.lost = append(b.lost, why) }}
	it.b, it.idAt = (&publish{topic: []byte("t"), payload: []byte(word), qos: qos}).encode(version5)
	for _, f := range change {
		f(it)
	}
	due, ok := b.put(it)
	require.True(t, ok)
	b.due = due
}

// sent is what is sent now: words, with their packet ids, and ! for a repetition.
func (b *box) sent(t *testing.T) (words []string) {
	r := bufio.NewReader(bytes.NewReader(b.Fill(nil)))
	for {
		pk, err := read(r, version5, 1<<20)
		if err != nil {
			return words
		}
		word := string(pk.Payload)
		if pk.PacketID > 0 {
			word += fmt.Sprint(pk.PacketID)
		}
		if pk.FixedHeader.Dup {
			word += "!"
		}
		words = append(words, word)
	}
}

func TestAnOutboxKeepsTheOrder(t *testing.T) {
	b := newBox(2)
	for _, word := range []string{"a", "b", "c"} {
		b.add(t, word, 1)
	}
	b.add(t, "d", 0)
	assert.Equal(t, []string{"a1", "b2"}, b.sent(t), "no more than the broker takes")
	assert.Empty(t, b.sent(t))
	assert.True(t, b.acked(1, false))
	assert.Equal(t, []string{"c3", "d"}, b.sent(t))
	assert.False(t, b.acked(9, false))
	assert.False(t, b.idle())
	b.acked(2, false)
	b.acked(3, true)
	assert.True(t, b.idle())
	assert.Equal(t, []bridge.Reason{bridge.Refused}, b.lost, "one was refused")
	assert.Zero(t, b.bytes)
}

// Nobody is woken to send what has to wait for an acknowledgement, nor for one that makes no room.
func TestWhatWaitsForAcknowledgementsWakesNobody(t *testing.T) {
	b := newBox(4)
	b.end()
	b.add(t, "a", 1)
	assert.False(t, b.due, "there is no connection")
	b.begin(4, 0, version5, false)
	b.open()
	b.add(t, "b", 1)
	assert.True(t, b.due)
	assert.Zero(t, b.acksDue())
	b.add(t, "c", 1)
	assert.Len(t, b.sent(t), 3)
	assert.Equal(t, 3, b.acksDue(), "nobody waits for one of them")
	b.add(t, "d", 1)
	assert.Len(t, b.sent(t), 1)
	b.add(t, "e", 1)
	assert.False(t, b.due)
	b.add(t, "f", 0)
	assert.False(t, b.due, "it is behind one that waits")
	assert.Equal(t, 2, b.acksDue(), "then more may be sent")
	assert.False(t, b.acked(1, false))
	assert.Equal(t, 1, b.acksDue())
	assert.True(t, b.acked(2, false))
	assert.Equal(t, []string{"e5", "f"}, b.sent(t))
	b.add(t, "g", 1)
	b.sent(t)
	b.add(t, "h", 0)
	assert.True(t, b.due, "it needs no acknowledgement")
}

func TestWhatWasNotAcknowledgedIsSentAgain(t *testing.T) {
	for _, present := range []bool{true, false} {
		b := newBox(10)
		for _, word := range []string{"a", "b", "c"} {
			b.add(t, word, 1)
		}
		b.sent(t)
		b.acked(2, false)
		b.add(t, "d", 1)
		b.end()
		assert.Empty(t, b.sent(t), "there is no connection")
		b.begin(10, 0, version5, present)
		assert.Empty(t, b.sent(t), "subscriptions first")
		require.True(t, b.direct([]byte{packets.Pingreq << 4, 0}))
		assert.Equal(t, []byte{packets.Pingreq << 4, 0}, b.Fill(nil))
		b.open()
		if present {
			assert.Equal(t, []string{"a1!", "c3!", "d4"}, b.sent(t))
		} else {
			assert.Equal(t, []string{"a4", "c5", "d6"}, b.sent(t))
		}
		b.clock += time.Hour // nobody wants to hear it now
		b.begin(10, 0, version5, present)
		b.open()
		assert.Empty(t, b.sent(t))
		assert.Len(t, b.lost, 3)
		assert.Zero(t, b.bytes)
	}
}

func TestWhatWaitsForTooLongIsDropped(t *testing.T) {
	b := newBox(10)
	b.end()
	b.add(t, "short", 0, func(it *item) { it.ends = b.clock + time.Second })
	b.add(t, "usual", 0)
	b.add(t, "stays", 0, func(it *item) { it.stays = true })
	b.clock += 2 * time.Second
	b.expire()
	assert.Equal(t, []bridge.Reason{bridge.Expired}, b.lost)
	b.clock += holdFor
	b.expire()
	assert.Equal(t, []bridge.Reason{bridge.Expired, bridge.Disconnected}, b.lost)
	b.begin(10, 0, version5, false)
	b.open()
	assert.Equal(t, []string{"stays"}, b.sent(t))
	assert.Zero(t, b.bytes)
}

func TestABrokersLargestPacket(t *testing.T) {
	b := newBox(10)
	b.begin(10, 100, version5, false)
	b.open()
	b.add(t, "small", 0)
	b.add(t, strings.Repeat("x", 100), 0)
	b.add(t, strings.Repeat("x", 100), 1)
	b.add(t, "after it", 1)
	assert.Equal(t, []string{"small", "after it1"}, b.sent(t))
	assert.Equal(t, []bridge.Reason{bridge.TooLarge, bridge.TooLarge}, b.lost)
}

// A broker that goes on to acknowledge is slow at most.
func TestABrokerThatAcknowledgesNothingIsDeaf(t *testing.T) {
	b := newBox(10)
	assert.True(t, b.answered(), "nothing was asked of it")
	b.add(t, "a", 1)
	b.add(t, "b", 1)
	assert.False(t, b.answered())
	b.clock += time.Hour
	assert.False(t, b.deaf(), "it was sent nothing")
	b.begin(10, 0, version5, true)
	b.open()
	b.add(t, "c", 1)
	b.add(t, "d", 1)
	require.Equal(t, []string{"c1", "d2"}, b.sent(t))
	b.clock += deafFor
	assert.False(t, b.deaf())
	b.acked(1, false)
	assert.True(t, b.answered())
	b.clock += deafFor
	assert.False(t, b.deaf())
	b.clock++
	assert.True(t, b.deaf())
	b.acked(2, false)
	assert.False(t, b.deaf())
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
	b, _ := p.encode(version5)
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

func TestAnOutboxIsBounded(t *testing.T) {
	b := newBox(10)
	n := 0
	room := b.waitRoom()
	for ; ; n++ {
		it := &item{drop: func(bridge.Reason) {}}
		it.b, it.idAt = (&publish{topic: []byte("t"), payload: make([]byte, 1<<10)}).encode(version5)
		if _, ok := b.put(it); !ok {
			break
		}
	}
	assert.InDelta(t, outboxBytes/(1<<10+itemBytes), n, 100)
	for len(b.Fill(nil)) > 0 {
	}
	select {
	case <-room:
	default:
		require.Fail(t, "nobody is told of the room")
	}
	b.begin(10, 0, version3, false) // another broker at the same address
	assert.True(t, b.idle())
}

// What a check prints has no topic of another base.
func TestRulesAreForTheBase(t *testing.T) {
	for broker, rules := range Rules("home/wt", "me", "ha") {
		assert.NotContains(t, rules, "watchtower", broker)
		assert.Contains(t, rules, "me", broker)
		assert.True(t, strings.Contains(rules, "home/wt/channels") || strings.Contains(rules, `home\.wt\.channels`), broker)
	}
}
