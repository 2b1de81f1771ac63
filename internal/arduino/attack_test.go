package arduino_test

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
	"watchtower/config"
	"watchtower/wire/frame"
	"watchtower/wire/session"
)

// eve records what flies, and sends it again: to where it went, and back to where it came from.
type eve struct {
	*world
	up, down [][]byte
}

// listen records while time passes, until a condition is true.
func (v *eve) listen(d time.Duration, until func() bool) bool {
	seen := map[string]bool{}
	return v.pass(d, func() bool {
		for _, f := range v.air {
			if seen[string(f.raw)] {
				continue
			}
			seen[string(f.raw)] = true
			if f.up {
				v.up = append(v.up, f.raw)
			} else {
				v.down = append(v.down, f.raw)
			}
		}
		return until()
	})
}

// attack gives all that was recorded to the device and to the gateway.
func (v *eve) attack() {
	for _, raw := range slices.Concat(v.up, v.down) {
		v.air = append(v.air, flight{v.now, false, v.at, raw}, flight{v.now, true, v.at, raw})
		v.pass(10*time.Millisecond, nil)
	}
}

// Whoever records all frames of a device, hidden and with its own key, and sends them again to
// both sides, in this session and in later ones, makes it neither hear nor say anything twice,
// nor lose what is under way.
func TestReplayedAndReflectedFrames(t *testing.T) {
	w := newWorld(t, whole(t), 1, 0)
	v := &eve{world: w}
	require.True(t, v.listen(time.Minute, func() bool { return slices.Contains(w.p.dones, done{'r', 0}) }))
	w.p.over()
	w.did(0, 'j', channel, 0, 1, "")
	e := w.ear(channel)
	var said, heard []string
	ask := func(n int) {
		said, heard = append(said, fmt.Sprint("said ", n)), append(heard, fmt.Sprint("heard ", n))
		e.say(heard[n])
		require.Zero(t, w.p.ask('b', channel, 0, 1, said[n]))
		before := len(w.p.messages)
		v.listen(5*time.Second, func() bool { return slices.Contains(w.p.dones, done{'b', 0}) && len(w.p.messages) > before+1 })
		require.Contains(t, w.p.over(), done{'b', 0})
	}
	for n := range 4 {
		ask(n)
		v.attack()
	}
	t.Log("while a request is under way")
	w.mute = true
	require.Zero(t, w.p.ask('b', channel, 0, 1, "said 4"))
	w.pass(time.Second, nil)
	w.mute = false
	v.attack()
	require.True(t, w.pass(20*time.Second, func() bool { return slices.Contains(w.p.dones, done{'b', 0}) }))
	assert.NotContains(t, w.p.over(), done{'b', lost})
	said = append(said, "said 4")

	t.Log("in the next session")
	w.pass(20*time.Second, nil)
	require.Equal(t, 1, w.hub.Holds().EndOwn("lamp"))
	require.Zero(t, w.p.ask('p', 0, 0, 1, ""))
	require.True(t, w.pass(5*time.Minute, func() bool { return slices.Contains(w.p.dones, done{'r', 0}) }))
	w.p.over()
	v.attack()
	w.did(0, 'j', channel, 0, 1, "")
	v.attack()
	w.did(0, 'b', channel, 0, 1, "said 5")
	said = append(said, "said 5")
	w.pass(time.Minute, nil)
	assert.Equal(t, said, withoutEchoes(e.all, nil))
	var got []string
	for _, m := range w.p.heard() {
		got = append(got, m.data)
	}
	assert.Equal(t, heard, withoutEchoes(got, said))
	assert.NotContains(t, w.p.over(), done{'r', 0}, "it has kept its session")
}

// A request that comes back to its device is no answer, whatever is in it: the first byte of a
// sleep of 100 seconds is a d, which is what an answer to it begins with.
func TestAReflectedRequestIsNoAnswer(t *testing.T) {
	for _, r := range []struct {
		op byte
		n  uint32
	}{{'d', 100}, {'d', 356}, {'d', 97}, {'j', 'j'}, {'x', 'x'}, {'b', 'b'}, {'s', 's'}} {
		w := newWorld(t, whole(t), 1, 0)
		w.joined()
		require.Zero(t, w.p.ask(r.op, r.n, 1, 1, string(r.op)))
		w.p.loop(w.now)
		sent := w.p.taken()
		require.Len(t, sent, 1)
		w.p.give(w.now, sent[0])
		assert.Empty(t, w.p.over(), "%c %d", r.op, r.n)
	}
}

// Cookies of an earlier registration, sent to a device that has no gateway, use up no nonce, which
// would be a write of its EEPROM, and no datagram.
func TestReplayedCookiesUseNothingUp(t *testing.T) {
	w := newWorld(t, whole(t), 1, 0)
	v := &eve{world: w}
	require.True(t, v.listen(time.Minute, func() bool { return slices.Contains(w.p.dones, done{'r', 0}) }))
	cookie := v.of('c')
	w.mute = true
	w.pass(time.Hour, nil)
	require.Equal(t, 2, w.p.nonces)
	w.sends = 0
	w.pass(1000*time.Second, nil)
	without := w.sends
	for range 1000 {
		w.p.give(w.now, cookie)
		w.pass(time.Second, nil)
	}
	assert.Equal(t, 2, w.p.nonces)
	assert.InDelta(t, 2*without, w.sends, 10)
	w.mute = false
	w.p.over()
	w.joined()
}

// Challenges of an earlier move, sent again and again, do not keep a request from its answer.
func TestReplayedChallengesKeepNoRequest(t *testing.T) {
	w := newWorld(t, whole(t), 1, 0)
	v := &eve{world: w}
	w.joined()
	e := w.ear(channel)
	w.at = netip.AddrPortFrom(w.at.Addr(), 1001)
	require.Zero(t, w.p.ask('b', channel, 0, 1, "moved"))
	require.True(t, v.listen(time.Minute, func() bool { return slices.Contains(w.p.dones, done{'b', 0}) }))
	w.p.over()
	challenge := v.of('q')
	w.drops = func(raw []byte) bool { return raw[0] == 'a' }
	require.Zero(t, w.p.ask('b', channel, 0, 1, "said"))
	w.pass(time.Second, nil)
	for range 300 {
		w.p.give(w.now, challenge)
		w.pass(5*time.Millisecond, nil)
	}
	w.drops = nil
	require.True(t, w.pass(20*time.Second, func() bool { return len(w.p.dones) > 0 }))
	assert.Equal(t, []done{{'b', 0}}, w.p.over())
	w.did(0, 'b', channel, 0, 1, "and more")
	assert.Equal(t, []string{"moved", "said", "and more"}, e.all)
}

// of is a frame that was recorded on its way to the device.
func (v *eve) of(op byte) []byte {
	v.Helper()
	i := slices.IndexFunc(v.down, func(raw []byte) bool { return raw[0] == op })
	require.GreaterOrEqual(v, i, 0)
	return v.down[i]
}

// withoutEchoes leaves out what is in others.
func withoutEchoes(all, others []string) []string {
	return slices.DeleteFunc(slices.Clone(all), func(s string) bool { return slices.Contains(others, s) })
}

// plainGateway answers as gateways do that know nothing of hidden bodies: its session keys are
// those of plain sessions.
type plainGateway struct{ ops []frame.Op }

func (g *plainGateway) answer(raw []byte) []byte {
	f, err := frame.Parse(raw)
	if err != nil {
		return nil
	}
	g.ops = append(g.ops, f.Op)
	r, err := frame.ParseRegistration(f.Body)
	switch {
	case err != nil || f.Op != frame.Register || !puppetKey.Verify(raw):
		return nil
	case r.Cookie == [8]byte{}:
		return frame.AppendCookie(nil, r.CNonce, [8]byte{7}, puppetKey)
	}
	s := puppetKey.SessionKey(0, r.CNonce, r.Cookie, 9)
	return frame.AppendRegistered(nil, 9, frame.Registered{CNonce: r.CNonce, KeepAlive: 60, MaxDatagram: 1200}, s)
}

// A device that asks for hidden bodies never registers at an old gateway, and never falls back:
// nothing but registrations leaves it.
func TestAnOldGatewayIsNotBelieved(t *testing.T) {
	for name, c := range map[string]struct {
		program string
		begins  bool
	}{
		"hidden": {whole(t), false},
		"sensor": {puppetProgram(t, "c", "sensor", "-DWT_SENSOR=1"), false},
		"plain":  {puppetProgram(t, "c", "WT_HIDDEN=0", "-DWT_HIDDEN=0"), true}, // the test's gateway is right for it
	} {
		p, g := newPuppet(t, c.program), &plainGateway{}
		p.tell('B')
		for at := time.Duration(0); at < 5*time.Minute && !slices.Contains(p.dones, done{'r', 0}); at += unit {
			p.loop(at)
			for sent := p.taken(); len(sent) > 0; sent = p.taken() {
				if raw := g.answer(sent[0]); raw != nil {
					p.give(at, raw)
				}
			}
		}
		assert.Equal(t, c.begins, slices.Contains(p.dones, done{'r', 0}), name)
		assert.Equal(t, map[bool]int{true: 0, false: busy}[c.begins], p.ask('b', channel, 0, 1, "secret"), name)
		if !c.begins {
			assert.Subset(t, []frame.Op{frame.Register}, g.ops, name)
			assert.Greater(t, len(g.ops), 10, "it goes on trying")
		}
	}
}

// twoKeys has a key of the name's own that is not the shared one.
type twoKeys struct {
	theKey
	own frame.Key
}

func (k twoKeys) Own([]byte) ([]session.OwnKey, bool) {
	return []session.OwnKey{{Key: k.own, By: bridge.ByShared + 1}}, true
}

// A device whose options and key do not belong together is let in by neither key: one with the
// shared key that says that it has its own, and one with its own key that does not say so. So
// is one with a key of an old master. They go on trying, and say nothing.
func TestMixedOptionsAreLetInByNoKey(t *testing.T) {
	own := frame.Key{1, 2, 3}
	shared := puppetProgram(t, "c", "WT_OWN_KEY=0", "-DWT_OWN_KEY=0") // puppetKey is its key
	for name, c := range map[string]struct {
		program string
		known   session.Keys
	}{
		"the shared key as its own, or one of an old master": {whole(t), twoKeys{own: own}},
		"its own key as the shared one":                      {shared, otherShared{own: puppetKey}},
	} {
		w := newWorld(t, c.program, 1, 0)
		settings := config.Default()
		w.table = session.NewTable(w.hub, c.known, session.Options{Via: via, Wire: &settings.Wire, Limits: &settings.Limits,
			Now: func() time.Time { return w.begun.Add(w.now) }, Wake: func() {}})
		w.pass(10*time.Minute, nil)
		assert.Greater(t, w.sends, 50, "%s: it goes on trying", name)
		assert.Zero(t, w.table.Len(), name)
		assert.Empty(t, w.p.over(), name)
		assert.Equal(t, w.sends, int(w.hub.Counters().Dropped(via, bridge.Forged)), name)
	}
}

// otherShared has the puppet's key as the name's own, and another as the shared one.
type otherShared struct{ own frame.Key }

func (otherShared) Shared() frame.Key { return frame.Key{9} }
func (otherShared) Required() bool    { return false }
func (k otherShared) Own([]byte) ([]session.OwnKey, bool) {
	return []session.OwnKey{{Key: k.own, By: bridge.ByShared + 1}}, true
}

// Whatever somebody sends who has recorded all frames, the core tells only what the gateway said,
// and uses no number for two requests.
func TestAttacks(t *testing.T) {
	t.Parallel()
	attacks(t, 100_000, 2)
}

func attacks(t *testing.T, steps, seeds int) {
	t.Helper()
	for _, option := range []string{"-DWT_HIDDEN=1", "-DWT_HIDDEN=0", "-DWT_SENSOR=1", "-DWT_BUFFER=64", "-DWT_BUFFER=1200"} {
		program := once(t, "attack"+option, func(out string) {
			run(t, "gcc", append(slices.Concat([]string{"-std=gnu99"}, sanitized), option, filepath.Join("testdata", "attack.c"), filepath.Join(src, "wt_sip.c"), "-o", out)...)
		})
		for seed := range seeds {
			run(t, program, fmt.Sprint(steps), fmt.Sprint(seed))
		}
	}
}
