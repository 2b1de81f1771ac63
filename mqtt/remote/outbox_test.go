package remote

import (
	"bufio"
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
)

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
	it.b, it.idAt = (&publish{topic: []byte("t"), payload: []byte(word), qos: qos}).encode(nil, version5)
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

// While a broker that is near has something to acknowledge, what is said is gathered, but not for long.
func TestWhatIsSaidMeanwhileIsGathered(t *testing.T) {
	b := newBox(20)
	b.add(t, "a", 1)
	assert.True(t, b.due)
	b.sent(t)
	b.add(t, "b", 1)
	assert.True(t, b.due, "it may be far")
	b.sent(t)
	b.clock += nearFor - 1
	assert.False(t, b.acked(1, false), "nothing waits")
	b.add(t, "c", 1)
	b.add(t, "d", 1)
	assert.False(t, b.due)
	assert.Equal(t, 1, b.acksDue())
	assert.True(t, b.acked(2, false))
	assert.Equal(t, []string{"c3", "d4"}, b.sent(t))
	for i := range gathered {
		b.add(t, "x", 1)
		assert.Equal(t, i == gathered-1, b.due, "%d wait", i+1)
	}
	assert.Len(t, b.sent(t), gathered)
	b.clock += nearFor
	b.acked(3, false)
	b.add(t, "e", 1)
	assert.True(t, b.due, "it is far")
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

func TestAcknowledgementsAreTakenTogether(t *testing.T) {
	b := newBox(10)
	for _, word := range []string{"a", "b", "c", "d"} {
		b.add(t, word, 1)
	}
	b.sent(t)
	b.add(t, "e", 1)
	used, more := b.ackedAll([]byte{0x40, 3, 0, 1, 0x10, 0x40, 2, 0, 2, 0x40, 2, 0, 9, 0x40, 3, 0, 3, 0x87, 0x40}, version5)
	assert.Equal(t, 13, used, "a refusal is left")
	assert.False(t, more, "two are not acknowledged")
	assert.False(t, b.acked(3, true))
	used, more = b.ackedAll([]byte{0x40, 2, 0, 4}, version5)
	assert.Equal(t, 4, used)
	assert.True(t, more)
	assert.Equal(t, []bridge.Reason{bridge.Refused}, b.lost)
	assert.Equal(t, []string{"e5"}, b.sent(t))
}

func TestAnOutboxIsBounded(t *testing.T) {
	b := newBox(10)
	n, held := 0, 0
	room := b.waitRoom()
	for ; ; n++ {
		it := &item{drop: func(bridge.Reason) {}}
		it.b, it.idAt = (&publish{topic: []byte("t"), payload: make([]byte, 1<<10)}).encode(nil, version5)
		held = cap(it.b) + itemBytes
		if _, ok := b.put(it); !ok {
			break
		}
	}
	assert.Equal(t, outboxBytes/held, n, "what an item holds counts, and not only what is in it")
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
