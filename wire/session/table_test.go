package session_test

import (
	"encoding/binary"
	"fmt"
	"math"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
	"watchtower/wire/frame"
	"watchtower/wire/session"
)

func TestVerbs(t *testing.T) {
	b := newBench(t, nil, bridge.Options{Limits: joins(3)})
	one, two := b.register(alice, nil), b.register(bob, nil)
	assert.NotEqual(t, one.id, two.id)

	one.must(frame.Join, ids(7, 300, 7))
	two.must(frame.Join, ids(7))
	assert.Equal(t, append([]byte{0}, ids(7, 300)...), one.must(frame.Channels, ids(0)))
	assert.Equal(t, append([]byte{0}, ids(300)...), one.must(frame.Channels, ids(8)))
	low, high := min(one.id, two.id), max(one.id, two.id)
	assert.Equal(t, append([]byte{0}, ids(low, high)...), one.must(frame.Members, ids(7, 0)))
	assert.Equal(t, append([]byte{0}, ids(high)...), one.must(frame.Members, ids(7, high)))

	got := one.tell(frame.Broadcast, frame.HintFlags(1), broadcast("hello", 7))
	assert.Equal(t, "mm", ops(got), "no answer unless it is wanted")
	for _, m := range got {
		d, err := frame.ParseDelivery(m.Body)
		require.NoError(t, err)
		assert.Equal(t, one.id, d.Sender)
		assert.EqualValues(t, 7, d.Channel)
		assert.EqualValues(t, 0x0100, d.Type)
		assert.Equal(t, "hello", string(d.Data))
		assert.EqualValues(t, 1, m.Seq)
		assert.Zero(t, m.Flags)
	}
	got = one.tell(frame.Send, frame.AckWanted|frame.HintFlags(2), send("psst", 7, two.id, two.id))
	assert.Equal(t, "am", ops(got))
	assert.Equal(t, bob, got[1].to)
	assert.EqualValues(t, 2, got[1].Seq)
	assert.Equal(t, []byte{1, 2}, got[1].Body[8:10])

	for name, c := range map[string]struct {
		op   frame.Op
		body []byte
		code frame.Code
	}{
		"leave what was not joined":     {frame.Leave, ids(9, 10), frame.OK},
		"channel 0":                     {frame.Join, ids(0), frame.BadRequest},
		"no channel":                    {frame.Join, nil, frame.BadRequest},
		"leave nothing":                 {frame.Leave, nil, frame.BadRequest},
		"half a channel":                {frame.Join, []byte{1, 2, 3}, frame.BadRequest},
		"too many channels":             {frame.Join, ids(1, 2), frame.Full},
		"broadcast unjoined":            {frame.Broadcast, broadcast("x", 7, 8), frame.NotJoined},
		"broadcast nowhere":             {frame.Broadcast, broadcast("x"), frame.BadRequest},
		"broadcast on 0":                {frame.Broadcast, broadcast("x", 0), frame.BadRequest},
		"broadcast cut":                 {frame.Broadcast, []byte{2, 7, 0, 0, 0}, frame.BadRequest},
		"broadcast empty":               {frame.Broadcast, nil, frame.BadRequest},
		"send to nobody":                {frame.Send, send("x", 7), frame.BadRequest},
		"send to a stranger":            {frame.Send, send("x", 7, two.id, 12345), frame.NotOnChannel},
		"send to one who is not there":  {frame.Send, send("x", 300, two.id), frame.NotOnChannel},
		"send on an unjoined channel":   {frame.Send, send("x", 8, two.id), frame.NotJoined},
		"members of an unjoined":        {frame.Members, ids(8, 0), frame.NotJoined},
		"members of channel 0":          {frame.Members, ids(0, 0), frame.BadRequest},
		"members, half a body":          {frame.Members, ids(7), frame.BadRequest},
		"channels without a start":      {frame.Channels, nil, frame.BadRequest},
		"ping with half a challenge":    {frame.Ping, []byte{1}, frame.BadRequest},
		"bye without seconds":           {frame.Bye, nil, frame.BadRequest},
		"an op that is none":            {'z', nil, frame.NotSupported},
		"ping":                          {frame.Ping, nil, frame.OK},
		"ping with any challenge":       {frame.Ping, make([]byte, 8), frame.OK},
		"broadcast of nothing":          {frame.Broadcast, broadcast("", 300), frame.OK},
		"the same channel named twice ": {frame.Broadcast, broadcast("x", 300, 300), frame.OK},
	} {
		t.Run(name, func(t *testing.T) {
			code, result := one.ask(c.op, c.body)
			assert.Equal(t, c.code, code)
			assert.Empty(t, result)
		})
	}
	assert.Equal(t, append([]byte{0}, ids(7, 300)...), one.must(frame.Channels, ids(0)), "all or nothing")
	got = one.tell(frame.Broadcast, 0, broadcast("x", 8))
	assert.Equal(t, "e", ops(got), "an error is told also if no answer was wanted")
	code, _ := one.ask(frame.Broadcast, nil)
	assert.Equal(t, frame.BadRequest, code)
	got = one.tell(frame.Broadcast, 3<<2, broadcast("x", 7))
	assert.Equal(t, "e", ops(got), "a hint that is none")
	one.must(frame.Leave, ids(7))
	assert.Equal(t, "m", ops(two.tell(frame.Broadcast, 0, broadcast("x", 7))))
}

func TestRegistrationIsClampedAndSaysSo(t *testing.T) {
	b := newBench(t, nil, bridge.Options{})
	for _, c := range [][4]uint16{{0, 0, 5, 64}, {5, 64, 5, 64}, {3600, 1200, 3600, 1200}, {65535, 65535, 3600, 1200}, {60, 100, 60, 100}} {
		d := &device{bench: b, at: alice, reg: frame.Registration{Version: 1, KeepAlive: c[0], MaxDatagram: c[1], CNonce: newNonce()}}
		answer := b.handle(alice, frame.AppendRegister(nil, d.reg, psk))
		cnonce, cookie, err := frame.ParseCookie(answer[0].Body)
		require.NoError(t, err)
		assert.Equal(t, d.reg.CNonce, cnonce)
		assert.Len(t, answer[0].raw, 36)
		d.reg.Cookie = cookie
		answer = b.handle(alice, frame.AppendRegister(nil, d.reg, psk))
		r, err := frame.ParseRegistered(answer[0].Body)
		require.NoError(t, err)
		assert.Equal(t, frame.Registered{CNonce: d.reg.CNonce, KeepAlive: c[2], MaxDatagram: c[3]}, r)
		assert.Zero(t, answer[0].Seq)
	}
	assert.Equal(t, 1, b.table.Len(), "one address and port is one device")
}

func TestACookieServesOnce(t *testing.T) {
	b := newBench(t, nil, bridge.Options{})
	d := b.register(alice, nil)
	raw := frame.AppendRegister(nil, d.reg, psk)
	first := b.handle(alice, raw)
	assert.Equal(t, "a", ops(first), "the same answer")
	assert.Equal(t, d.id, first[0].ID)
	got := b.handle(eve, raw)
	assert.Equal(t, "c", ops(got), "from elsewhere the cookie is wrong")
	d.must(frame.Bye, seconds(0))
	assert.Empty(t, b.handle(alice, raw), "its session has ended")
	assert.Equal(t, 1, b.dropped(session.Duplicate))
	assert.Zero(t, b.table.Len())

	b.now = b.now.Add(2 * time.Minute)
	assert.Equal(t, "c", ops(b.handle(alice, raw)), "an old cookie counts as none")
}

func TestACookieIsGoodForItsMinuteAndTheNext(t *testing.T) {
	b := newBench(t, nil, bridge.Options{})
	b.register(bob, nil) // the first minute begins
	for name, c := range map[string]struct {
		age  time.Duration
		good bool
	}{"at once": {0, true}, "after a minute": {time.Minute, true}, "after two": {2 * time.Minute, false}, "after a day": {24 * time.Hour, false}} {
		t.Run(name, func(t *testing.T) {
			reg := frame.Registration{Version: 1, CNonce: newNonce()}
			answer := b.handle(alice, frame.AppendRegister(nil, reg, psk))
			_, reg.Cookie, _ = frame.ParseCookie(answer[0].Body)
			b.now = b.now.Add(c.age)
			assert.Equal(t, c.good, ops(b.handle(alice, frame.AppendRegister(nil, reg, psk))) == "a")
		})
	}
}

func TestRefusedRegistrations(t *testing.T) {
	b := newBench(t, func(o *session.Options) { o.UDPSessions = 1 }, bridge.Options{})
	_, err := b.hub.Register(bridge.Registration{Name: "safe", Protected: true})
	require.NoError(t, err)
	cookie := func(r *frame.Registration) {
		r.CNonce = newNonce()
		answer := b.handle(alice, frame.AppendRegister(nil, *r, psk))
		_, r.Cookie, err = frame.ParseCookie(answer[0].Body)
		require.NoError(t, err)
	}
	for name, c := range map[string]struct {
		r    frame.Registration
		code frame.Code
	}{
		"version 2":        {frame.Registration{Version: 2}, frame.NotSupported},
		"a name too long":  {frame.Registration{Version: 1, Name: []byte(strings.Repeat("x", 33))}, frame.BadRequest},
		"not a name":       {frame.Registration{Version: 1, Name: []byte("a b")}, frame.BadRequest},
		"a protected name": {frame.Registration{Version: 1, Name: []byte("safe")}, frame.NotSupported},
	} {
		t.Run(name, func(t *testing.T) {
			if c.code == frame.NotSupported && c.r.Version == 1 {
				cookie(&c.r)
			}
			answer := b.handle(alice, frame.AppendRegister(nil, c.r, psk))
			require.Equal(t, "e", ops(answer))
			assert.Equal(t, c.code, answer[0].Code())
			assert.Equal(t, []byte("r"), answer[0].Body)
			assert.True(t, psk.Verify(answer[0].raw))
		})
	}
	d := b.register(alice, named("a"))
	full := frame.Registration{Version: 1}
	full.CNonce = newNonce()
	answer := b.handle(bob, frame.AppendRegister(nil, full, psk))
	_, full.Cookie, _ = frame.ParseCookie(answer[0].Body)
	answer = b.handle(bob, frame.AppendRegister(nil, full, psk))
	require.Equal(t, "e", ops(answer))
	assert.Equal(t, frame.Full, answer[0].Code())
	assert.Equal(t, 1, b.dropped(bridge.Limit))
	d.again() // that ends the session before
	d.must(frame.Bye, seconds(0))
	assert.Equal(t, "a", ops(b.handle(bob, frame.AppendRegister(nil, full, psk))), "its cookie is still good")
	assert.Empty(t, b.handle(alice, frame.AppendRegister(nil, full, frame.Key{1})))
	assert.Equal(t, 1, b.dropped(bridge.Forged))
}

// What anybody can send is never answered by more bytes: the source may be forged.
func TestNoRefusalOfARegistrationIsLongerThanIt(t *testing.T) {
	b := newBench(t, nil, bridge.Options{})
	whole := frame.AppendRegister(nil, frame.Registration{Version: 1, Name: []byte("lamp")}, psk)
	for n := range len(whole) - frame.Overhead {
		raw := frame.Append(nil, frame.Frame{Op: frame.Register, Body: whole[frame.HeaderSize:][:n]}, psk)
		answer := b.handle(alice, raw)
		require.Equal(t, "e", ops(answer), "%d bytes", n)
		assert.LessOrEqual(t, len(answer[0].raw), len(raw), "%d bytes", n)
	}
}

func TestANameIsAlwaysTheSameSender(t *testing.T) {
	b := newBench(t, nil, bridge.Options{})
	one := b.register(alice, named("lamp"))
	one.must(frame.Join, ids(7))
	two := b.register(bob, named("lamp"))
	assert.Equal(t, one.id, two.id)
	assert.Equal(t, 1, b.table.Len(), "the newest wins")
	code, _ := two.ask(frame.Broadcast, broadcast("x", 7))
	assert.Equal(t, frame.NotJoined, code, "it begins with no channels")
	assert.Empty(t, one.tell(frame.Ping, 0, nil), "the same id, another key")
	assert.Equal(t, 1, b.dropped(bridge.Forged))
	_, err := b.hub.Register(bridge.Registration{Name: "lamp"})
	require.NoError(t, err)
	two.must(frame.Ping, nil)
}

func TestWhatIsNoRequest(t *testing.T) {
	b := newBench(t, nil, bridge.Options{})
	d := b.register(alice, nil)
	drops := 0
	for _, op := range "acemq" {
		assert.Empty(t, d.tell(frame.Op(op), 0, nil))
		drops++
	}
	good := d.frame(frame.Ping, 0, nil)
	for n := range good {
		assert.Empty(t, b.handle(alice, good[:n]))
	}
	drops += len(good)
	assert.Empty(t, b.handle(alice, append(good, 0)))
	drops++
	long := frame.Append(nil, frame.Frame{Op: frame.Broadcast, ID: d.id, Seq: 99, Body: broadcast(strings.Repeat("x", 1176), 7)}, d.key)
	assert.Empty(t, b.handle(alice, long))
	assert.Empty(t, b.handle(alice, frame.Append(nil, frame.Frame{Op: frame.Delivered, ID: d.id, Seq: 1, Body: []byte("x")}, d.key)))
	assert.Equal(t, drops+2, b.dropped(bridge.Malformed))
	for i := range good {
		bad := append([]byte(nil), good...)
		bad[i] ^= 0x20
		for _, s := range b.handle(alice, bad) {
			assert.Equal(t, frame.UnknownID, s.Code(), "byte %d", i)
		}
	}
	assert.Equal(t, "a", ops(b.handle(alice, good)))
}

func TestAnUnknownIDIsAHintOnly(t *testing.T) {
	b := newBench(t, nil, bridge.Options{})
	raw := frame.Append(nil, frame.Frame{Op: frame.Broadcast, Flags: 1, ID: 77, Seq: 5, Body: []byte("whatever")}, frame.Key{9})
	got := b.handle(alice, raw)
	require.Equal(t, "e", ops(got))
	assert.Equal(t, frame.UnknownID, got[0].Code())
	assert.Empty(t, got[0].Body)
	assert.Equal(t, raw[4:12], got[0].raw[4:12])
	assert.Equal(t, raw[len(raw)-8:], got[0].raw[12:])
	assert.Empty(t, b.handle(alice, frame.Append(nil, frame.Frame{Op: frame.Delivered, ID: 77, Seq: 5}, frame.Key{9})))
	assert.Equal(t, 1, b.dropped(session.Unknown))
}

func TestEachNumberIsExecutedOnce(t *testing.T) {
	b := newBench(t, nil, bridge.Options{})
	d := b.register(alice, nil)
	d.must(frame.Join, ids(7))
	var frames [][]byte
	for i := range 100 {
		frames = append(frames, d.frame(frame.Broadcast, frame.AckWanted, broadcast(fmt.Sprint(i), 7)))
	}
	got := b.handle(alice, frames[99]) // it overtakes the others
	assert.Equal(t, []string{"99"}, heard(got))
	for i := range 36 {
		assert.Empty(t, b.handle(alice, frames[i]), "more than 63 behind")
	}
	assert.Equal(t, 36, b.dropped(session.Duplicate))
	for i := 36; i < 99; i++ {
		assert.Equal(t, "am", ops(b.handle(alice, frames[i])))
	}
	for i := range 100 {
		want := ""
		if i >= 91 && i < 99 {
			want = "a" // the last eight answers are kept
		}
		assert.Equal(t, want, ops(b.handle(alice, frames[i])), "%d", i)
	}
	zero := frame.Append(nil, frame.Frame{Op: frame.Ping, ID: d.id}, d.key)
	assert.Empty(t, b.handle(alice, zero))
}

func TestRepeatedRequests(t *testing.T) {
	b := newBench(t, nil, bridge.Options{})
	d := b.register(alice, nil)
	join := d.frame(frame.Join, 0, ids(7))
	first := b.handle(alice, join)
	assert.Equal(t, first, b.handle(alice, join), "byte for byte")
	bad := d.frame(frame.Broadcast, 0, broadcast("x", 8))
	assert.Equal(t, b.handle(alice, bad), b.handle(alice, bad))
	list := d.frame(frame.Members, 0, ids(7, 0))
	assert.Len(t, b.handle(alice, list)[0].Body, 6)
	other := b.register(bob, nil)
	other.must(frame.Join, ids(7))
	assert.Len(t, b.handle(alice, list)[0].Body, 10, "executed again")
	quiet := d.frame(frame.Broadcast, 0, broadcast("once", 7))
	assert.Equal(t, "mm", ops(b.handle(alice, quiet)))
	assert.Empty(t, b.handle(alice, quiet))
}

func TestCountersNeverWrap(t *testing.T) {
	b := newBench(t, nil, bridge.Options{})
	d := b.register(alice, nil)
	d.seq = math.MaxUint32 - 1
	d.must(frame.Join, ids(7))
	assert.EqualValues(t, uint32(math.MaxUint32), d.seq)
	assert.Zero(t, b.table.Len())
	assert.Equal(t, frame.UnknownID, d.tell(frame.Ping, 0, nil)[0].Code())
}

func TestListsFitTheDatagram(t *testing.T) {
	b := newBench(t, nil, bridge.Options{})
	d := b.register(alice, func(r *frame.Registration) { r.MaxDatagram = 64 })
	var all []uint32
	for i := range uint32(25) {
		d.must(frame.Join, ids(i+1))
		all = append(all, i+1)
	}
	var got []byte
	for start, pages := uint32(0), 0; ; pages++ {
		raw := d.tell(frame.Channels, 0, ids(start))[0]
		require.LessOrEqual(t, len(raw.raw), 64)
		more, page, err := frame.ParseList(raw.Body[1:])
		require.NoError(t, err)
		got = append(got, page...)
		if !more {
			assert.Equal(t, 2, pages)
			break
		}
		start = page.At(page.Len()-1) + 1
	}
	assert.Equal(t, ids(all...), got)
}

func TestWhatDoesNotFitIsCutShort(t *testing.T) {
	b := newBench(t, nil, bridge.Options{})
	small := b.register(alice, func(r *frame.Registration) { r.MaxDatagram = 64; r.Options = frame.Acknowledge })
	large := b.register(bob, nil)
	small.must(frame.Join, ids(7))
	large.must(frame.Join, ids(7))
	got := large.tell(frame.Broadcast, 0, broadcast(strings.Repeat("x", 34), 7))
	for _, m := range got {
		assert.False(t, m.Truncated())
	}
	small.delivered(1)
	got = large.tell(frame.Broadcast, 0, broadcast(strings.Repeat("x", 35), 7))
	assert.Len(t, got, 2)
	for _, m := range got {
		assert.Equal(t, m.to == alice, m.Truncated())
		if m.to == alice {
			assert.Len(t, m.raw, 64)
			assert.Equal(t, strings.Repeat("x", 34), string(m.Body[10:]))
			assert.True(t, small.key.Verify(m.raw))
		}
	}
	b.pass(time.Minute)
	assert.Equal(t, 1, b.dropped(session.Truncated), "once, however often it is sent")
}

func TestADeletedSenderIsUnknown(t *testing.T) {
	b := newBench(t, nil, bridge.Options{})
	d := b.register(alice, nil)
	d.must(frame.Join, ids(7))
	d.tell(frame.Broadcast, 0, broadcast("x", 7))
	b.hub.Forget(b.senderOf(d))
	assert.Equal(t, frame.UnknownID, d.tell(frame.Ping, 0, nil)[0].Code())
	assert.Zero(t, b.table.Len())
}

// senderOf finds a device's sender: it sends the device something.
func (b *bench) senderOf(d *device) (s *bridge.Sender) {
	b.table.Handle(d.at, d.frame(frame.Broadcast, 0, broadcast("x", 7)), &b.out)
	b.link.Flush(func(jobs []bridge.Job) {
		s = jobs[0].To[0].Sender()
		jobs[0].Done(b.hub.Counters(), viaUDP, 0, 0)
	})
	b.out.Reset()
	return s
}

func at(i int) netip.AddrPort {
	var a [4]byte
	binary.BigEndian.PutUint32(a[:], 0x0a000000+uint32(i))
	return netip.AddrPortFrom(netip.AddrFrom4(a), 4000)
}
