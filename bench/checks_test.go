package bench

import (
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestPayload(t *testing.T) {
	for _, size := range []int{headerSize, 64, 1000, 60_000} {
		want := stamp{run: 0xdeadbeef, publisher: 4095, seq: 1<<32 - 1, at: 1<<62 + 12345}
		b := appendPayload(nil, want, size)
		require.Len(t, b, size)
		got, ok := parsePayload(b, size)
		require.True(t, ok)
		assert.Equal(t, want, got)
		for range 100 {
			changed := slices.Clone(b)
			i := rand.IntN(size)
			changed[i] ^= byte(1 + rand.IntN(255))
			got, ok := parsePayload(changed, size)
			// What changes the check itself so that it fits again is one in 65,536.
			assert.False(t, ok && got == want, "byte %d", i)
		}
		_, ok = parsePayload(b[:size-1], size)
		assert.False(t, ok)
	}
}

func TestHistogram(t *testing.T) {
	var h, other, all histogram
	for i := range 10_000 {
		d := int64(i+1) * 1000 // 1 µs to 10 ms
		if i%2 == 0 {
			h.record(d)
		} else {
			other.record(d)
		}
	}
	all.add(&h)
	all.add(&other)
	all.add(&histogram{})
	for q, want := range map[float64]time.Duration{0.5: 5 * time.Millisecond, 0.9: 9 * time.Millisecond, 0.99: 9900 * time.Microsecond} {
		assert.InEpsilon(t, want, all.quantile(q), 0.04)
	}
	assert.Equal(t, 10*time.Millisecond, all.quantile(1))
	assert.Zero(t, new(histogram).quantile(0.5))
	last := -1
	for ns := int64(0); ns < 1<<40; ns = ns*17/16 + 1 {
		i := bucket(ns)
		require.GreaterOrEqual(t, i, last)
		if i < buckets-1 {
			require.GreaterOrEqual(t, upper(i), ns)
			require.LessOrEqual(t, float64(upper(i)), float64(ns)*1.04+32)
		}
		last = i
	}
}

// A plan's joins, receivers and counts agree.
func TestPlan(t *testing.T) {
	for _, p := range []plan{
		{channels: 1, receivers: 5}, {channels: 3, receivers: 5}, {channels: 7, receivers: 3}, {channels: 4, receivers: 4},
		{channels: 5, receivers: 2, joinAll: true}, {channels: 3, receivers: 4, everybody: 2}, {channels: 3, everybody: 2},
	} {
		got := make([]int, p.channels)
		for r := range p.receivers {
			for _, c := range p.joins(r) {
				got[c]++
			}
		}
		for c, n := range got {
			assert.Equal(t, n+p.everybody, p.fanOut(c), "%+v", p)
			assert.Positive(t, p.fanOut(c))
		}
		for pub := range 6 {
			next := make([]uint32, p.channels)
			for c := range next {
				next[c] = p.first(pub, c)
			}
			sum := 0
			for s := range uint32(50) {
				assert.EqualValues(t, sum, p.expected(pub, uint64(s)))
				c := p.channel(uint16(pub), s)
				require.Equal(t, next[c], s)
				next[c] += uint32(p.channels)
				sum += p.fanOut(c)
			}
		}
	}
}

// hear has one receiver hear messages of one publisher by their numbers.
func hear(channels int, numbers ...uint32) counts {
	p := plan{channels: channels, receivers: 1}
	e := newEar(7, 64, p, p.joins(0), []*flight{newFlight(1)}, new(atomic.Bool))
	for _, n := range numbers {
		e.take(appendPayload(nil, stamp{run: 7, seq: n}, 64))
	}
	return e.count
}

func TestOrder(t *testing.T) {
	assert.Equal(t, counts{received: 4}, hear(1, 0, 1, 2, 3))
	assert.Equal(t, counts{received: 3}, hear(1, 0, 1, 3), "a gap is a loss: it is counted at the end")
	assert.Equal(t, counts{received: 4, reordered: 1}, hear(1, 0, 2, 1, 3))
	assert.Equal(t, counts{received: 3, duplicates: 2}, hear(1, 0, 1, 1, 0, 2))
	assert.Equal(t, counts{received: 4, reordered: 2, duplicates: 1}, hear(1, 3, 1, 2, 1, 4))
	assert.Equal(t, counts{received: 2, duplicates: 1}, hear(1, 100, 1, 101), "too far back to tell")
	assert.Equal(t, counts{received: 6}, hear(3, 0, 2, 1, 3, 5, 4), "there is no order between channels")
	assert.Equal(t, counts{received: 3, reordered: 1}, hear(3, 0, 6, 3))
	var all counts
	all.add(counts{1, 2, 3, 4, 5, 6})
	assert.Equal(t, counts{1, 2, 3, 4, 5, 6}, all)
}

func TestFlight(t *testing.T) {
	f := newFlight(2)
	<-f.tokens
	require.True(t, f.depart(0, 2, 10))
	f.land(0)
	assert.False(t, f.idle())
	f.land(0)
	assert.True(t, f.idle())
	f.land(0) // nothing is out any more
	<-f.tokens
	require.True(t, f.depart(1, 1, 20))
	assert.False(t, f.depart(1+slots, 1, 20), "its slot is taken")
	f.giveUp(20)
	assert.False(t, f.idle())
	f.giveUp(21)
	assert.True(t, f.idle())
	assert.EqualValues(t, 1, f.lost.Load())
	f.land(1) // too late
	assert.Len(t, f.tokens, 2)
}

func TestDechunk(t *testing.T) {
	const text = "5\r\nab\nc\n\r\n" + "A;x=y\r\n0123456789\r\n" + "1\r\n\n\r\n"
	for cut := range len(text) {
		c := &streamConn{in: newInbox(64)}
		for _, part := range []string{text[:cut], text[cut:]} {
			c.in.fill += copy(c.in.buf[c.in.fill:], part)
			require.NoError(t, c.dechunk())
		}
		assert.Equal(t, "ab\nc\n0123456789\n", string(c.text))
	}
	c := &streamConn{in: newInbox(64)}
	c.in.fill = copy(c.in.buf, "0\r\n\r\n")
	assert.ErrorContains(t, c.dechunk(), "ended")
	c = &streamConn{in: newInbox(64)}
	c.in.fill = copy(c.in.buf, "hello\r\n")
	assert.ErrorIs(t, c.dechunk(), errHTTP)
}

func TestDropsOfMetrics(t *testing.T) {
	before := parseDrops("watchtower_drops_total{protocol=\"tcp\",reason=\"queue_full\"} 5\nother 7\n")
	after := parseDrops("watchtower_drops_total{protocol=\"tcp\",reason=\"queue_full\"} 1.2e+01\n" +
		"watchtower_drops_total{protocol=\"udp\",reason=\"malformed\"} 3\nwatchtower_drops_total{protocol=\"udp\",reason=\"link_full\"} 0\n")
	got := after.since(before)
	assert.Equal(t, drops{"tcp queue_full": 7, "udp malformed": 3}, got)
	assert.EqualValues(t, 7, got.deliveries())
}

func BenchmarkTake(b *testing.B) {
	p := plan{channels: 1, receivers: 1}
	f := newFlight(1)
	recording := new(atomic.Bool)
	recording.Store(true)
	e := newEar(7, 64, p, p.joins(0), []*flight{f}, recording)
	payload := make([]byte, 0, 64)
	b.ReportAllocs()
	for n := uint32(0); b.Loop(); n++ {
		<-f.tokens
		f.depart(n, 1, 0)
		payload = appendPayload(payload[:0], stamp{run: 7, seq: n}, 64)
		e.take(payload)
	}
}

func BenchmarkParsePayload(b *testing.B) {
	payload := appendPayload(nil, stamp{run: 7, seq: 12345}, 64)
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := parsePayload(payload, 64); !ok {
			b.Fatal()
		}
	}
}
