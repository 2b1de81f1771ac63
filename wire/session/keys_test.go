package session_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
	"watchtower/wire/frame"
	"watchtower/wire/keys"
	"watchtower/wire/session"
)

// memory is a document that is kept in memory.
type memory struct {
	value []byte
	full  bool
}

func (m *memory) Load() ([]byte, error) { return m.value, nil }

func (m *memory) Save(b []byte) error {
	if m.full {
		return assert.AnError
	}
	m.value = b
	return nil
}

// keyed is a bench whose devices may have keys of their own.
type keyed struct {
	*bench
	ring *keys.Ring
}

func newKeyed(t *testing.T, mode string) *keyed {
	k := &keyed{bench: newBench(t, nil, bridge.Options{OwnKeys: mode != keys.Off})}
	var err error
	k.ring, err = keys.Open(&memory{}, func() []byte { return make([]byte, 32) },
		keys.Options{Mode: mode, Shared: func() frame.Key { return psk }, Now: func() time.Time { return k.now }})
	require.NoError(t, err)
	k.use(k.ring)
	return k
}

func (k *keyed) use(known session.Keys) {
	opts := options()
	opts.Now = func() time.Time { return k.now }
	k.table = session.NewTable(k.hub, known, opts)
}

// keyOf is the present key of a name.
func (k *keyed) keyOf(name string) frame.Key {
	key, _, err := k.ring.Key(name)
	require.NoError(k, err)
	return key
}

// own is a registration of a name by its own key.
func own(name string) func(*frame.Registration) {
	return func(r *frame.Registration) { r.Name, r.Options = []byte(name), frame.OwnKey }
}

// registerBy registers a device by some key.
func (k *keyed) registerBy(key frame.Key, change func(*frame.Registration)) *device {
	d := &device{bench: k.bench, at: alice, psk: key}
	d.reg = frame.Registration{Version: 1, KeepAlive: 60, MaxDatagram: 1200}
	change(&d.reg)
	d.again()
	return d
}

// refusal is what an r tagged with a key is answered, which has to be tagged with it too.
func (k *keyed) refusal(key frame.Key, change func(*frame.Registration)) frame.Code {
	k.Helper()
	reg := frame.Registration{Version: 1, KeepAlive: 60, MaxDatagram: 1200, CNonce: newNonce()}
	change(&reg)
	got := k.handle(bob, frame.AppendRegister(nil, reg, key))
	require.Equal(k, "e", ops(got))
	require.True(k, key.Verify(got[0].raw))
	require.Equal(k, []byte("r"), got[0].Body)
	return got[0].Code()
}

func TestANameSeenWithItsOwnKeyIsRefusedToTheShared(t *testing.T) {
	k := newKeyed(t, keys.Accepted)
	before := k.registerBy(psk, named("lamp"))
	lamp := k.registerBy(k.keyOf("lamp"), own("lamp"))
	assert.Equal(t, before.id, lamp.id)
	assert.Equal(t, frame.NameHasKey, k.refusal(psk, named("lamp")))
	lamp.must(frame.Ping, nil)
	assert.Equal(t, map[bridge.Proof]int{lamp.proof(): 1}, k.hub.Directory().Proofs())
	assert.Equal(t, keys.Own, k.ring.Kind(lamp.proof()))
	k.registerBy(psk, named("door"))
	k.registerBy(psk, func(*frame.Registration) {}).must(frame.Ping, nil)

	t.Log("a name that is only a beginning, or another's key")
	for _, name := range []string{"lam", "lamp2", "door"} {
		reg := frame.Registration{Version: 1, CNonce: newNonce(), Name: []byte(name), Options: frame.OwnKey}
		assert.Empty(t, k.handle(bob, frame.AppendRegister(nil, reg, k.keyOf("lamp"))), name)
		assert.Empty(t, k.handle(bob, frame.AppendRegister(nil, reg, psk)), name)
	}
	assert.Equal(t, 6, k.dropped(bridge.Forged))
	t.Log("no name has no key of its own: that is told by the shared one")
	assert.Equal(t, frame.BadRequest, k.refusal(psk, own("")))
	assert.Equal(t, frame.NotSupported, k.refusal(k.keyOf("lamp"), func(r *frame.Registration) { own("lamp")(r); r.Version = 2 }))
}

// proof is what let a device in.
func (d *device) proof() bridge.Proof {
	info, err := d.hub.Registry().Sender(bridge.SenderID(d.id))
	require.NoError(d, err)
	return info.By
}

func TestOwnKeysRequiredAndOff(t *testing.T) {
	k := newKeyed(t, keys.Required)
	assert.Equal(t, frame.NameHasKey, k.refusal(psk, named("lamp")))
	assert.Equal(t, frame.NameHasKey, k.refusal(psk, named("")))
	assert.Equal(t, frame.BadRequest, k.refusal(psk, own("")), "bit 3 without a name")
	k.registerBy(k.keyOf("lamp"), own("lamp")).must(frame.Ping, nil)

	k = newKeyed(t, keys.Off)
	reg := frame.Registration{Version: 1, CNonce: newNonce(), Name: []byte("lamp"), Options: frame.OwnKey}
	assert.Empty(t, k.handle(bob, frame.AppendRegister(nil, reg, k.keyOf("lamp"))), "as an older gateway does")
	assert.Equal(t, 1, k.dropped(bridge.Forged))
	k.registerBy(psk, own("lamp")).must(frame.Ping, nil)
	k.registerBy(psk, own("")).must(frame.Ping, nil)
	k.registerBy(psk, named("lamp"))
}

func TestRevoking(t *testing.T) {
	k := newKeyed(t, keys.Accepted)
	old := k.keyOf("lamp")
	door := k.registerBy(k.keyOf("door"), own("door"))
	door.at = bob
	door.again()
	lamp := k.registerBy(old, own("lamp"))
	request := lamp.frame(frame.Ping, 0, nil)
	generation, err := k.ring.Revoke("lamp")
	require.NoError(t, err)
	assert.EqualValues(t, 1, generation)
	assert.Equal(t, 1, k.hub.Holds().EndOwn("lamp"))
	assert.Equal(t, 1, k.table.Len())
	got := k.handle(alice, request)
	require.Equal(t, "e", ops(got))
	assert.Equal(t, frame.UnknownID, got[0].Code())
	door.must(frame.Ping, nil)

	t.Log("neither the old key, nor what was recorded of the session, nor the shared key")
	assert.Empty(t, k.handle(alice, frame.AppendRegister(nil, lamp.reg, old)), "the same r again")
	lamp.reg.Cookie = [8]byte{}
	assert.Empty(t, k.handle(alice, frame.AppendRegister(nil, lamp.reg, old)))
	assert.Equal(t, frame.NameHasKey, k.refusal(psk, named("lamp")))
	assert.NotEqual(t, old, k.keyOf("lamp"))
	k.registerBy(k.keyOf("lamp"), own("lamp")).must(frame.Ping, nil)
	assert.Zero(t, k.hub.Holds().EndOwn("nobody"))
}

// late are keys that are revoked between an r's check and its session.
type late struct {
	*keys.Ring
	revoke func()
}

func (l *late) Own(name []byte) ([]session.OwnKey, bool) {
	list, on := l.Ring.Own(name)
	if l.revoke != nil && len(name) > 0 {
		l.revoke()
	}
	return list, on
}

func TestAKeyThatIsRevokedWhileItsDeviceRegisters(t *testing.T) {
	k := newKeyed(t, keys.Accepted)
	known := &late{Ring: k.ring}
	k.use(known)
	key := k.keyOf("lamp")
	reg := frame.Registration{Version: 1, CNonce: newNonce(), Name: []byte("lamp"), Options: frame.OwnKey}
	got := k.handle(alice, frame.AppendRegister(nil, reg, key))
	require.Equal(t, "c", ops(got))
	_, reg.Cookie, _ = frame.ParseCookie(got[0].Body)
	known.revoke = func() {
		known.revoke = nil
		_, err := k.ring.Revoke("lamp")
		require.NoError(t, err)
		require.Zero(t, k.hub.Holds().EndOwn("lamp"), "it has no session yet")
	}
	got = k.handle(alice, frame.AppendRegister(nil, reg, key))
	require.Equal(t, "e", ops(got))
	assert.Equal(t, frame.SlowDown, got[0].Code())
	assert.Zero(t, k.table.Len())
	assert.Empty(t, k.hub.Directory().Proofs())
	assert.Empty(t, k.handle(alice, frame.AppendRegister(nil, reg, key)), "and the cookie does not help")
}

func TestRotating(t *testing.T) {
	k := newKeyed(t, keys.Accepted)
	first := k.keyOf("lamp")
	lamp := k.registerBy(first, own("lamp"))
	rotate := func(master byte, d time.Duration) {
		next := make([]byte, 32)
		next[0] = master
		require.NoError(t, k.ring.Rotate(next, k.now.Add(d)))
		k.hub.Holds().EndProved(k.ring.Over)
	}
	rotate(1, time.Hour)
	second := k.keyOf("lamp")
	assert.NotEqual(t, first, second)
	lamp.must(frame.Ping, nil)
	assert.Equal(t, keys.Previous, k.ring.Kind(lamp.proof()))
	lamp.again()
	assert.Equal(t, keys.Previous, k.ring.Kind(lamp.proof()), "it counts until the date")
	lamp.psk = second
	lamp.again()
	assert.Equal(t, keys.Own, k.ring.Kind(lamp.proof()))
	lamp.psk = first
	lamp.again()

	b := frame.AppendRegister(nil, frame.Registration{Version: 1, CNonce: newNonce(), Name: []byte("lamp"), Options: frame.OwnKey}, first)
	k.now = k.now.Add(59 * time.Minute)
	require.Equal(t, "c", ops(k.handle(bob, b)))
	lamp.again()
	k.now = k.now.Add(time.Minute)
	assert.Empty(t, k.handle(bob, b))
	assert.Equal(t, 1, k.hub.Holds().EndProved(k.ring.Over))
	assert.Zero(t, k.table.Len())

	t.Log("a second rotation ends the first master at once")
	lamp.psk = second
	lamp.again()
	rotate(2, time.Hour)
	rotate(3, time.Hour)
	assert.Zero(t, k.table.Len())
}

// Devices with keys of their own need not know of each other's cnonce.
func TestOneCNonceByTwoDevices(t *testing.T) {
	k := newKeyed(t, keys.Accepted)
	reg := frame.Registration{Version: 1, Options: frame.OwnKey, CNonce: [8]byte{1}}
	for _, name := range []string{"lamp", "door"} { // one after the other behind the same address
		reg.Name, reg.Cookie = []byte(name), [8]byte{}
		_, cookie, err := frame.ParseCookie(k.handle(alice, frame.AppendRegister(nil, reg, k.keyOf(name)))[0].Body)
		require.NoError(t, err)
		reg.Cookie = cookie
		got := k.handle(alice, frame.AppendRegister(nil, reg, k.keyOf(name)))
		require.Equal(t, "a", ops(got))
		assert.True(t, k.keyOf(name).SessionKey(0, reg.CNonce, cookie, got[0].ID).Verify(got[0].raw), name)
	}
}
