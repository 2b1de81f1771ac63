package history

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
	"unsafe"

	"github.com/oklog/ulid/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
	"watchtower/config"
)

// model is a history in the plainest way: one slice of all records, and the bounds as they are
// written in the documentation.
type model struct {
	opts     Options
	all      []record
	position uint64
	lost     map[bridge.Channel]loss
	forgot   loss
}

func (k *model) of(c bridge.Channel) (records []record) {
	for _, r := range k.all {
		if r.message.Channel == c {
			records = append(records, r)
		}
	}
	return records
}

func (k *model) bytes() (sum int) {
	for _, r := range k.all {
		sum += Size(r.message)
	}
	return sum
}

func (k *model) drop(position uint64) {
	i := slices.IndexFunc(k.all, func(r record) bool { return r.position == position })
	m := k.all[i].message
	k.lost[m.Channel] = loss{m.ID, position, m.Time}
	k.all = slices.Delete(k.all, i, i+1)
}

func (k *model) add(m *bridge.Message, now time.Time) {
	k.position++
	k.all = append(k.all, record{m, k.position, m.ID, m.Time, Size(m)})
	if of := k.of(m.Channel); len(of) > k.opts.Messages {
		k.drop(of[0].position)
	}
	for len(k.all) > 0 && (k.bytes() > k.opts.Bytes || now.Sub(k.all[0].message.Time) > k.opts.Age) {
		k.drop(k.all[0].position)
	}
}

// forget forgets a channel of which nothing is kept.
func (k *model) forget(c bridge.Channel) {
	if k.lost[c].Position > k.forgot.Position {
		k.forgot = k.lost[c]
	}
	delete(k.lost, c)
}

// All bounds together keep what a plain model keeps, whatever comes: bursts, silence, channels
// that empty and come back or are forgotten, messages of other gateways with other clocks.
func TestTheBoundsAreThoseOfAModel(t *testing.T) {
	for _, seed := range []uint64{1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233} {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			followAModel(t, rand.New(rand.NewPCG(seed, 0)))
		})
	}
}

func followAModel(t *testing.T, random *rand.Rand) {
	const channels = 7
	now := time.Unix(1e9, 0)
	o := Options{Clock: func() time.Time { return now }}
	o.Messages = []int{1, 2, 7, 100, 1000}[random.IntN(5)]
	o.Bytes = []int{recordBytes, 20 * recordBytes, 200 * recordBytes, 1 << 30}[random.IntN(4)]
	o.Age = time.Minute
	h, k := New(nil, o, nil), &model{opts: o, lost: map[bridge.Channel]loss{}}
	speaks, pace := bridge.Channel(1), time.Second
	for step := range 2500 {
		switch random.IntN(60) {
		case 0: // a burst, or nearly silence
			pace = []time.Duration{0, time.Millisecond, time.Second, 20 * time.Second}[random.IntN(4)]
		case 1:
			speaks = bridge.Channel(1 + random.IntN(channels))
		case 2:
			if e := h.emptied.Front(); e != nil {
				p := h.emptied.Remove(e).(*past)
				h.forgetLocked(p)
				k.forget(p.channel)
			}
		case 3:
			now = now.Add(o.Age)
		}
		now = now.Add(pace)
		m := aMessage(random, now, o.Age)
		m.Channel = speaks
		if random.IntN(4) == 0 {
			m.Channel = bridge.Channel(1 + random.IntN(channels))
		}
		h.addLocked(m)
		k.add(m, now)
		isTheModel(t, h, k, step)
	}
}

// aMessage is one that was taken here up to half of the age ago, or anywhere at any time.
func aMessage(random *rand.Rand, now time.Time, age time.Duration) *bridge.Message {
	m := &bridge.Message{Time: now.Add(-upTo(random, age/2)), Data: make([]byte, random.IntN(100))}
	if random.IntN(5) == 0 {
		m.Gateway, m.Time = 2, now.Add(age-upTo(random, 3*age))
	}
	m.ID[0] = byte(random.Uint32()) // some have the same: one is said on many channels
	return m
}

func upTo(random *rand.Rand, most time.Duration) time.Duration {
	return time.Duration(random.Int64N(int64(most)))
}

// isTheModel fails unless a history keeps and has lost what a model does, in bounded memory.
func isTheModel(t *testing.T, h *History, k *model, step int) {
	t.Helper()
	kept := 0
	for c, p := range h.channels {
		got, of := slices.Collect(p.records.all()), k.of(c)
		kept += len(got)
		require.Len(t, got, len(of), "channel %d after %d", c, step)
		for i, r := range got {
			require.True(t, of[i] == *r, "record %d of channel %d after %d", i, c, step)
		}
		require.Equal(t, k.lost[c], p.lost, "channel %d after %d", c, step)
		require.Equal(t, len(of) == 0, p.emptied != nil)
		require.Less(t, len(p.records.block), 8*(len(of)+1), "%d are kept", len(of))
		require.LessOrEqual(t, len(p.records.block), k.opts.Messages)
		for i := len(of); i < len(p.records.block); i++ {
			require.True(t, *p.records.at(i) == record{}, "what is dropped is garbage")
		}
	}
	require.Equal(t, k.forgot, h.lost)
	require.Equal(t, len(k.all), kept, "no channel is missing")
	require.Equal(t, kept, h.kept)
	require.Equal(t, k.bytes(), h.bytes)
	require.LessOrEqual(t, h.order.count, max(2*kept, entriesLeast))
	require.LessOrEqual(t, h.emptied.Len(), len(h.channels))
	if n := len(k.all); n > 0 { // an id that was on none of the channels that a client names
		id, newest := k.all[step%n].id, uint64(0)
		for _, r := range k.all {
			if r.id == id {
				newest = r.position
			}
		}
		known, at := h.positionLocked(id, nil)
		require.True(t, known)
		require.Equal(t, newest, at)
	}
}

// An old message that is kept does not make the order of all grow without end.
func TestABusyChannelBesideAQuietOneIsBounded(t *testing.T) {
	now := time.Unix(1e9, 0)
	o := Options{History: config.Default().History, Clock: func() time.Time { return now }}
	h := New(nil, o, nil)
	say := func(c bridge.Channel) {
		h.addLocked(&bridge.Message{ID: ulid.Make(), Channel: c, Time: now, Data: []byte("x")})
	}
	say(1)
	most, block := 0, 0
	for range 100_000 {
		say(2)
		most, block = max(most, h.order.count), max(block, len(h.order.block))
	}
	assert.LessOrEqual(t, most, entriesLeast)
	assert.LessOrEqual(t, block, 2*entriesLeast)
	assert.Equal(t, 1, h.channels[1].records.count)
	assert.Equal(t, o.Messages, h.channels[2].records.count)

	now = now.Add(o.Age + 1)
	say(2)
	assert.Zero(t, h.channels[1].records.count)
	assert.Equal(t, 1, h.kept)
	assert.Equal(t, 1, h.channels[2].records.count)
}

// What a burst took is given back once its messages are too old.
func TestMemoryOfABurstIsGivenBack(t *testing.T) {
	now := time.Unix(1e9, 0)
	o := Options{History: config.Default().History, Clock: func() time.Time { return now }}
	o.Messages, o.Bytes = 100_000, 1<<30
	h := New(nil, o, nil)
	say := func(c bridge.Channel) { h.addLocked(&bridge.Message{Channel: c, Time: now}) }
	for i := range 20_000 {
		say(bridge.Channel(1 + i%2))
	}
	require.GreaterOrEqual(t, len(h.channels[2].records.block), 10_000)
	now = now.Add(o.Age + 1)
	say(1)
	assert.LessOrEqual(t, len(h.channels[1].records.block), 8)
	assert.Nil(t, h.channels[2].records.block)
	assert.LessOrEqual(t, len(h.order.block), 2*entriesLeast)
}

// The clock is read once a message at most, and not while all messages are new.
func TestTheClockIsReadWhenItIsNeeded(t *testing.T) {
	now, reads := time.Unix(1e9, 0), 0
	o := Options{History: config.Default().History}
	o.Clock = func() time.Time { reads++; return now }
	h := New(nil, o, nil)
	said := func(from bridge.Slot) int {
		reads = 0
		h.addLocked(&bridge.Message{Channel: 1, Time: now, Gateway: from})
		return reads
	}
	assert.Zero(t, said(0))
	assert.Equal(t, 1, said(2), "the time of another gateway's message is by another clock")
	for range 9 {
		said(0)
	}
	now = now.Add(o.Age/2 - 1)
	assert.Zero(t, said(0))
	now = now.Add(o.Age/2 + 2)
	assert.Equal(t, 1, said(0))
	assert.Equal(t, 2, h.kept, "11 were too old")
}

// A record is one cache line, and recordBytes is what a message takes.
func TestTheSizeOfARecord(t *testing.T) {
	assert.EqualValues(t, 64, unsafe.Sizeof(record{}))
	message := int(unsafe.Sizeof(bridge.Message{})+15) / 16 * 16 // the allocator's class, up to 256
	taken := message + int(unsafe.Sizeof(record{})+unsafe.Sizeof(entry{}))*4/3
	assert.InDelta(t, taken, recordBytes, 16)
}
