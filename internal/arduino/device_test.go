package arduino_test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func whole(t testing.TB) string { return puppetProgram(t, "c", "whole") }

// Requests that nobody answers are sent after 1, 2, 4, 8 and then every 8 seconds, with the
// same bytes. Once a gateway would have forgotten the device, it registers.
func TestRetries(t *testing.T) {
	w := newWorld(t, whole(t), 1, 0)
	w.joined()
	require.Zero(t, w.p.ask('b', channel, 0, 1, "hello"))
	w.mute = true
	var times []time.Duration
	var first []byte
	begun := w.now
	for w.now < begun+5*time.Minute && len(w.p.dones) == 0 {
		w.now += unit
		w.p.loop(w.now)
		for _, raw := range w.p.taken() {
			if first == nil {
				first = raw
			}
			assert.Equal(t, first, raw)
			times = append(times, w.now-begun)
		}
	}
	assert.Equal(t, []done{{'b', lost}}, w.p.over())
	want := time.Duration(0)
	for i, at := range times {
		assert.InDelta(t, want, at, float64(600*time.Millisecond), "sending %d", i)
		want = at + min(time.Second<<i, 8*time.Second)
		if i > 3 {
			want = at + 8*time.Second
		}
	}
	assert.InDelta(t, 210*time.Second, w.now-begun, float64(25*time.Second))
	w.mute = false
	w.joined()
}

// A hundred messages each way arrive once each and in order, over a network that loses a
// fifth of the datagrams, doubles some and delays some.
func TestOnceOverABadNetwork(t *testing.T) {
	for i, program := range []string{
		puppetProgram(t, "c", "quiet", "-DWT_ECHO=0"),
		puppetProgram(t, "c++", "large", "-DWT_ECHO=0", "-DWT_BUFFER=400"),
		puppetProgram(t, "c", "plain", "-DWT_ECHO=0", "-DWT_HIDDEN=0", "-DWT_OWN_KEY=0"),
	} {
		w := newWorld(t, program, uint64(i+1), 20)
		w.joined()
		e := w.ear(channel)
		var said, heard []string
		for n := range 100 {
			said, heard = append(said, fmt.Sprintf("said %d", n)), append(heard, fmt.Sprintf("heard %d", n))
			e.say(heard[n])
			w.did(0, 'b', channel, 0, 5, said[n])
			require.True(t, w.pass(10*time.Minute, func() bool { return len(w.p.messages) > n-40 }), "the gateway's queue has 64")
		}
		w.pass(10*time.Minute, nil)
		assert.Equal(t, said, e.all)
		var got []string
		for _, m := range w.p.heard() {
			got = append(got, m.data)
		}
		assert.Equal(t, heard, got)
		assert.Empty(t, slices.DeleteFunc(w.p.over(), func(d done) bool { return d.op == 'p' }))
	}
}

// What the gateway refuses is told with its code, what does not fit at once.
func TestRefusals(t *testing.T) {
	w := newWorld(t, whole(t), 1, 0)
	assert.Equal(t, busy, w.p.ask('j', channel, 0, 1, ""), "not registered yet")
	w.joined()
	w.did(3, 'b', 6, 0, 1, "not joined")
	w.did(4, 's', channel, 77, 1, "nobody")
	w.did(5, 'j', 0, 0, 1, "")
	assert.Equal(t, 5, w.p.ask('b', channel, 0, 1, string(make([]byte, 67))), "too long")
	w.did(0, 'b', channel, 0, 1, string(make([]byte, 66)))
	require.Zero(t, w.p.ask('b', channel, 0, 1, "one at a time"))
	assert.Equal(t, busy, w.p.ask('j', 6, 0, 1, ""))
	assert.Equal(t, busy, w.p.ask('b', channel, 0, 1, ""))
}

// A message to one arrives there alone; what the program does not take comes again.
func TestSendAndLater(t *testing.T) {
	w := newWorld(t, whole(t), 1, 0)
	w.joined()
	e := w.ear(channel)
	w.did(0, 's', channel, e.id, 9, `{"a":1}`)
	assert.Equal(t, []string{`{"a":1}`}, e.all)
	w.p.tell('H', 0)
	e.say("later")
	w.pass(3*time.Second, nil)
	assert.Empty(t, w.p.heard())
	w.p.tell('H', 1)
	w.pass(20*time.Second, nil)
	assert.Equal(t, []message{{sender: e.id, channel: channel, data: "later"}}, w.p.heard())
	e.say(string(make([]byte, 100)))
	w.pass(time.Second, nil)
	m := w.p.heard()
	require.Len(t, m, 1)
	assert.Len(t, m[0].data, 66)
	assert.True(t, m[0].cut)
	w.did(0, 'x', channel, 0, 1, "")
}

// A device that only listens keeps its session.
func TestKeepAlive(t *testing.T) {
	w := newWorld(t, whole(t), 1, 0)
	w.joined()
	e := w.ear(channel)
	w.sends = 0
	w.pass(20*time.Minute, nil)
	assert.InDelta(t, 40, w.sends, 3, "two pings a minute")
	e.say("still there?")
	w.pass(time.Second, nil)
	assert.Len(t, w.p.heard(), 1)
	assert.NotContains(t, w.p.over(), done{'r', 0})
}

// Each move is proved, also a second one while a request is unanswered. Nothing is lost.
func TestMoves(t *testing.T) {
	w := newWorld(t, whole(t), 3, 20)
	w.joined()
	e := w.ear(channel)
	var want []string
	for n := range 40 {
		w.at = netip.AddrPortFrom(w.at.Addr(), w.at.Port()+1)
		require.Zero(t, w.p.ask('b', channel, 0, 1, fmt.Sprint(n)))
		if n%2 == 1 {
			w.pass(1500*time.Millisecond, nil)
			w.at = netip.AddrPortFrom(w.at.Addr(), w.at.Port()+1)
		}
		begun := w.now
		require.True(t, w.pass(5*time.Minute, func() bool {
			return slices.Contains(w.p.dones, done{'b', 0}) || slices.Contains(w.p.dones, done{'b', lost})
		}))
		assert.Less(t, w.now-begun, 40*time.Second)
		assert.Contains(t, w.p.over(), done{'b', 0})
		want = append(want, fmt.Sprint(n))
	}
	assert.Equal(t, want, e.all)
}

// A device that moves twice while one request is unanswered recovers in three seconds.
func TestSecondMove(t *testing.T) {
	w := newWorld(t, whole(t), 3, 0)
	w.joined()
	e := w.ear(channel)
	w.drops = func(raw []byte) bool { return raw[0] == 'a' && raw[12] == 'b' }
	w.at = netip.AddrPortFrom(w.at.Addr(), 1001)
	require.Zero(t, w.p.ask('b', channel, 0, 1, "on"))
	require.True(t, w.pass(time.Second, func() bool { return len(e.all) > 0 }), "it has moved")
	w.at = netip.AddrPortFrom(w.at.Addr(), 1002)
	w.drops = nil
	require.True(t, w.pass(3*time.Second, func() bool { return slices.Contains(w.p.dones, done{'b', 0}) }))
	assert.Equal(t, []string{"on"}, e.all)
}

// A gateway that was restarted says so at once. What was under way is told as lost.
func TestGatewayRestarts(t *testing.T) {
	w := newWorld(t, whole(t), 1, 0)
	w.joined()
	w.pass(20*time.Second, nil)
	w.boot()
	require.Zero(t, w.p.ask('b', channel, 0, 1, "?"))
	require.True(t, w.pass(3*time.Second, func() bool { return slices.Contains(w.p.dones, done{'r', 0}) }))
	assert.Equal(t, []done{{'b', lost}, {'r', 0}}, w.p.over())
	w.boot() // again within ten seconds: it waits
	require.Zero(t, w.p.ask('b', channel, 0, 1, "?"))
	assert.False(t, w.pass(6*time.Second, func() bool { return len(w.p.dones) > 0 }))
	assert.True(t, w.pass(20*time.Second, func() bool { return slices.Contains(w.p.dones, done{'r', 0}) }))
}

// A device whose request is not answered does not give its session up while it hears messages: a
// ping is answered only after those that wait, and that may take long.
func TestMessagesAreLife(t *testing.T) {
	w := newWorld(t, whole(t), 1, 0)
	w.joined()
	e := w.ear(channel)
	w.drops = func(raw []byte) bool { return raw[0] == 'a' }
	require.Zero(t, w.p.ask('p', 0, 0, 1, ""))
	for n := range 20 {
		e.say(fmt.Sprint(n))
		w.pass(time.Minute, nil)
	}
	assert.Len(t, w.p.heard(), 20)
	assert.Empty(t, w.p.over())
	w.drops = nil
	require.True(t, w.pass(10*time.Second, func() bool { return len(w.p.dones) > 0 }))
	assert.Equal(t, []done{{'p', 0}}, w.p.over())
}

// Messages wait while the device sleeps, and come before the answer to its ping.
func TestSleep(t *testing.T) {
	w := newWorld(t, whole(t), 1, 0)
	w.joined()
	e := w.ear(channel)
	w.did(0, 'd', 3600, 0, 1, "")
	w.sends = 0
	e.say("one")
	e.say("two")
	w.air, w.mute = nil, true // its radio is off
	for range 50 {
		w.now += time.Minute
		w.table.Advance(&w.out)
		w.out.Reset()
	}
	assert.Zero(t, w.sends)
	w.mute = false
	require.Zero(t, w.p.ask('p', 0, 0, 1, ""))
	require.True(t, w.pass(30*time.Second, func() bool { return slices.Contains(w.p.dones, done{'p', 0}) }))
	m := w.p.heard()
	require.Len(t, m, 2)
	assert.Equal(t, "two", m[1].data)
	assert.Equal(t, []done{{'p', 0}}, w.p.over())
}

// An outage spends one nonce at most, however long it is: nonces come from an EEPROM.
func TestNonces(t *testing.T) {
	w := newWorld(t, whole(t), 1, 0)
	w.pass(time.Second, nil)
	w.joined()
	assert.Equal(t, 1, w.p.nonces)
	w.mute = true
	w.pass(2*time.Hour, nil)
	assert.Equal(t, 2, w.p.nonces)
	w.mute = false
	require.True(t, w.pass(time.Minute, func() bool { return slices.Contains(w.p.dones, done{'r', 0}) }))
	assert.Equal(t, 2, w.p.nonces)
}

// The end of a session is told as success, also if only its answer got lost.
func TestGoodbye(t *testing.T) {
	w := newWorld(t, whole(t), 1, 0)
	w.joined()
	w.pass(11*time.Second, nil)
	require.Zero(t, w.p.ask('d', 0, 0, 1, ""))
	w.p.loop(w.now)
	for _, raw := range w.p.taken() {
		w.table.Handle(w.at, raw, &w.out)
	}
	w.out.Reset() // the answer gets lost
	require.True(t, w.pass(10*time.Second, func() bool { return len(w.p.dones) > 0 }))
	assert.Equal(t, []done{{'d', 0}}, w.p.over())
}

// What is told and not asked is sent once.
func TestTell(t *testing.T) {
	w := newWorld(t, whole(t), 1, 0)
	w.joined()
	e := w.ear(channel)
	w.sends = 0
	require.Zero(t, w.p.ask('b', channel, 0, 4, "once"))
	w.pass(10*time.Second, nil)
	assert.Equal(t, 1, w.sends-len(w.p.heard()), "apart from a k for its own echo")
	assert.Equal(t, []string{"once"}, e.all)
	assert.Empty(t, w.p.over())
	w.did(0, 'b', channel, 0, 1, "and again")
}

// A sensor speaks, and is answered.
func TestSensor(t *testing.T) {
	w := newWorld(t, puppetProgram(t, "c", "sensor", "-DWT_SENSOR=1"), 1, 20)
	w.joined()
	e := w.ear(channel)
	var want []string
	for n := range 50 {
		w.did(0, 'b', channel, 0, 1, fmt.Sprint(n))
		want = append(want, fmt.Sprint(n))
	}
	assert.Equal(t, want, e.all)
}
