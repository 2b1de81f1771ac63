package session_test

import (
	"encoding/binary"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
	"watchtower/internal/harness"
	"watchtower/wire/frame"
	"watchtower/wire/session"
)

// A flood of registrations from made-up addresses, with the right key or a wrong one,
// leaves nothing in memory, and nothing is allocated for it.
func TestASpoofedFloodLeavesNothing(t *testing.T) {
	b := newBench(t, nil, bridge.Options{})
	victim := b.register(alice, nil)
	victim.must(frame.Join, ids(7))
	reg := frame.Registration{Version: 1, KeepAlive: 60, MaxDatagram: 1200, Name: []byte("a-name-as-long-as-they-may-be-32")}
	raw := frame.AppendRegister(nil, reg, psk)
	for name, c := range map[string]struct {
		datagram []byte
		answer   int
	}{
		"right key":          {raw, 36},
		"wrong key":          {frame.AppendRegister(nil, reg, frame.Key{1}), 0},
		"wrong cookie":       {frame.AppendRegister(nil, frame.Registration{Version: 1, Cookie: [8]byte{1}}, psk), 36},
		"unknown id":         {frame.Append(nil, frame.Frame{Op: frame.Ping, ID: 3, Seq: 1}, psk), 20},
		"forged":             {frame.Append(nil, frame.Frame{Op: frame.Ping, ID: victim.id, Seq: 99}, psk), 0},
		"garbage":            {[]byte("really nothing that anybody could read"), 0},
		"from the gateway":   {frame.AppendCookie(nil, [8]byte{}, [8]byte{}, psk), 0},
		"replayed":           {frame.Append(nil, frame.Frame{Op: frame.Join, ID: victim.id, Seq: 1, Body: ids(7)}, victim.key), 28},
		"k for an unknown":   {frame.Append(nil, frame.Frame{Op: frame.Delivered, ID: 3, Seq: 1}, psk), 0},
		"empty register":     {frame.Append(nil, frame.Frame{Op: frame.Register}, psk), 20},
		"malformed register": {frame.Append(nil, frame.Frame{Op: frame.Register, Body: []byte{1, 2}}, psk), 21},
	} {
		t.Run(name, func(t *testing.T) {
			b.out.Reset()
			b.table.Handle(at(0), c.datagram, &b.out)
			if c.answer == 0 {
				require.Zero(t, b.out.Len())
			} else {
				require.Equal(t, c.answer, b.out.Bytes())
			}
			i := 0
			allocs := testing.AllocsPerRun(10_000, func() {
				i++
				b.table.Handle(at(i), c.datagram, &b.out)
				b.out.Reset()
			})
			assert.Zero(t, allocs)
		})
	}
	assert.Equal(t, 1, b.table.Len())
	harness.Alone(t)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range 100_000 {
		b.table.Handle(at(i), raw, &b.out)
		b.out.Reset()
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	assert.Less(t, int64(after.HeapAlloc)-int64(before.HeapAlloc), int64(64<<10))
	victim.must(frame.Ping, nil)
}

// Captured frames do nothing when somebody else sends them, when they go back to where
// they came from, or when they come again later.
func TestCapturedFrames(t *testing.T) {
	b := newBench(t, nil, bridge.Options{})
	l, s := pair(b, acknowledge(1))
	captured := [][]byte{l.frame(frame.Join, 0, ids(9)), l.frame(frame.Broadcast, 1, broadcast("x", 7)), l.frame(frame.Leave, 0, ids(9)), l.frame(frame.Bye, 0, seconds(100)), l.frame(frame.Ping, 0, nil)}
	for _, c := range captured {
		b.handle(alice, c)
	}
	l.delivered(1)
	code, _ := l.ask(frame.Broadcast, broadcast("x", 9))
	require.Equal(t, frame.NotJoined, code)
	for range 2 {
		for _, c := range captured {
			for _, m := range b.handle(alice, c) {
				assert.Equal(t, frame.Answer, m.Op)
				assert.Equal(t, alice, m.to)
			}
			for _, m := range b.handle(eve, c) { // as if the device had moved: it gets no more than a challenge
				assert.Equal(t, frame.Challenge, m.Op)
				assert.Equal(t, eve, m.to)
			}
		}
		code, _ = l.ask(frame.Broadcast, broadcast("x", 9))
		assert.Equal(t, frame.NotJoined, code)
		assert.Equal(t, alice, s.say("x")[0].to, "awake, and where it was")
		l.delivered(uint32(2))
		b.pass(time.Minute)
	}
	for _, sent := range append(s.tell(frame.Ping, 0, nil), s.say("y")...) {
		assert.Empty(t, b.handle(sent.to, sent.raw), "reflected")
		assert.Empty(t, b.handle(eve, sent.raw))
	}
	l.again()
	for _, c := range captured {
		for _, m := range b.handle(alice, c) {
			assert.Equal(t, frame.UnknownID, m.Code())
		}
	}
	assert.Equal(t, 2, b.table.Len())
}

func TestOfTwoRegistrationsAtOnceOneStays(t *testing.T) {
	later := make(chan func(*session.Out), 10)
	b := newBench(t, func(o *session.Options) {
		o.Later = func(do func(*session.Out)) bool {
			select {
			case later <- do:
				return true
			default:
				return false
			}
		}
	}, bridge.Options{Store: slowStore{}})
	begin := func(from netip.AddrPort, name string) []byte {
		reg := frame.Registration{Version: 1, CNonce: newNonce(), Name: []byte(name)}
		_, reg.Cookie, _ = frame.ParseCookie(b.handle(from, frame.AppendRegister(nil, reg, psk))[0].Body)
		return frame.AppendRegister(nil, reg, psk)
	}
	one := begin(alice, "lamp")
	assert.Empty(t, b.handle(alice, one), "its name is on its way to the disk")
	assert.Empty(t, b.handle(alice, one))
	assert.Equal(t, 1, b.dropped(session.Duplicate))
	assert.Empty(t, b.handle(bob, begin(bob, "lamp")))
	for range 2 {
		(<-later)(&b.out)
	}
	got := b.take()
	require.Equal(t, "aa", ops(got))
	assert.Equal(t, got[0].ID, got[1].ID)
	assert.Equal(t, 1, b.table.Len())
	for i := range 11 { // more than there is room for
		from := at(i)
		got = b.handle(from, begin(from, "lamp"+string(rune('a'+i))))
	}
	require.Equal(t, "e", ops(got))
	assert.Equal(t, frame.SlowDown, got[0].Code())
	for len(later) > 0 {
		(<-later)(&b.out)
	}
	assert.Len(t, b.take(), 10)
	assert.Equal(t, 11, b.table.Len())
}

// slowStore saves everything, but only when it is asked to wait.
type slowStore struct{}

func (slowStore) Load() ([]bridge.Record, error)      { return nil, nil }
func (slowStore) Save(bridge.Record) func() error     { return func() error { return nil } }
func (slowStore) Delete(bridge.SenderID) func() error { return func() error { return nil } }

// Many sessions, all of which have something due.
func TestManySessions(t *testing.T) { manySessions(t, 10_000) }

func manySessions(t *testing.T, many int) {
	b := newBench(t, func(o *session.Options) { o.UDPSessions = many }, bridge.Options{})
	harness.Alone(t)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	devices := make([]*device, many)
	for i := range devices {
		devices[i] = b.register(at(i), func(r *frame.Registration) { r.KeepAlive = 60; r.Options = frame.Acknowledge })
		devices[i].must(frame.Join, ids(7))
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	t.Logf("%d bytes each", (after.HeapAlloc-before.HeapAlloc)/uint64(many))
	full := frame.Registration{Version: 1, CNonce: newNonce()}
	_, full.Cookie, _ = frame.ParseCookie(b.handle(bob, frame.AppendRegister(nil, full, psk))[0].Body)
	assert.Equal(t, frame.Full, b.handle(bob, frame.AppendRegister(nil, full, psk))[0].Code())

	said := devices[0].say("x")
	assert.Len(t, said, many)
	b.now = b.now.Add(time.Second)
	calls, resent := 0, 0
	for next := time.Duration(0); next == 0; calls++ {
		next = b.table.Advance(&b.out)
		assert.LessOrEqual(t, b.out.Bytes(), 1<<17)
		resent += b.out.Len()
		b.out.Reset()
	}
	assert.Equal(t, many, resent)
	assert.Greater(t, calls, many/10_000, "not all under one lock")
	wakes := 0
	for end := b.now.Add(4 * time.Minute); b.now.Before(end); wakes++ {
		next := b.table.Advance(&b.out)
		b.out.Reset()
		if next < 0 {
			break
		}
		b.now = b.now.Add(next)
	}
	assert.Less(t, wakes, 5000)
	assert.Zero(t, b.table.Len())
	assert.Empty(t, b.hub.Directory().Channels())
	assert.Equal(t, many, b.dropped(bridge.Failed), "given up before the sessions ended")
}

func BenchmarkHandle(b *testing.B) {
	t := newBench(b, nil, bridge.Options{})
	d := t.register(alice, nil)
	raw := d.frame(frame.Ping, 0, nil)
	d.seq = 0
	b.ReportAllocs()
	for b.Loop() {
		d.seq++
		binary.LittleEndian.PutUint32(raw[8:], d.seq)
		binary.LittleEndian.PutUint64(raw[len(raw)-8:], d.key.Sum(raw[:len(raw)-8]))
		t.table.Handle(alice, raw, &t.out)
		t.out.Reset()
	}
}
