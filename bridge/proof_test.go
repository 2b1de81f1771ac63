package bridge_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
	"watchtower/internal/harness"
)

// book is a store in memory.
type book struct {
	records map[bridge.SenderID]bridge.Record
}

func (b *book) Load() (all []bridge.Record, err error) {
	for _, r := range b.records {
		all = append(all, r)
	}
	return all, nil
}

func (b *book) Save(r bridge.Record) func() error {
	b.records[r.ID] = r
	return func() error { return nil }
}

func (b *book) Delete(id bridge.SenderID) func() error {
	delete(b.records, id)
	return func() error { return nil }
}

func keyedHub(t *testing.T, b *book, on bool, generation uint64) *bridge.Hub {
	h, _ := harness.Hub(t, viaMQTT, bridge.Options{Store: b, OwnKeys: on, Generation: generation, IDKey: []byte("k"), PassKey: []byte("p")})
	return h
}

const byMaster = bridge.ByShared + 2

// What the secret key gave under a name ends when the name's own key is first seen; what
// was given since stays, over restarts and another secret key.
func TestTheFirstTimeOfAnOwnKey(t *testing.T) {
	b := &book{map[bridge.SenderID]bridge.Record{}}
	h := keyedHub(t, b, true, 0)
	squatter, err := h.Register(bridge.Registration{Name: "lamp", Protected: true})
	require.NoError(t, err)
	before, _ := h.SenderByID(squatter.ID)
	ended := 0
	door := &bridge.Attachment{Via: viaHTTP, Returns: true, Broadcasts: true, Address: "http://x", Ended: func() { ended++ }}
	wait, err := h.Kept().Join(before, []bridge.Channel{5}, "http://x", false, false, func(bridge.Channel) *bridge.Attachment { return door })
	require.NoError(t, err)
	require.NoError(t, wait())
	other, err := h.Holds().Sender(before, func() { ended++ })
	require.NoError(t, err)

	own := func(h *bridge.Hub) (*bridge.Hold, error) {
		return h.Holds().Register(bridge.Naming{Name: "lamp", Lasting: true, By: byMaster}, func() {})
	}
	hold, err := own(h)
	require.NoError(t, err, "though it was protected")
	assert.Equal(t, squatter.ID, hold.Sender().ID())
	assert.Equal(t, 2, ended, "the callback, and who came with the token")
	h.Holds().Release(other)
	_, known := h.Tokens().Sender(squatter.Token)
	assert.False(t, known)
	assert.True(t, b.records[squatter.ID].Own)

	refused := func(h *bridge.Hub, what string) {
		_, err := h.Register(bridge.Registration{Name: "lamp"})
		assert.Equal(t, bridge.NameProtected, codeOf(err), what)
		_, err = h.Holds().Register(bridge.Naming{Name: "lamp", Via: viaMQTT}, func() {})
		assert.Equal(t, bridge.NameProtected, codeOf(err), what)
		_, err = h.Holds().Register(bridge.Naming{Name: "lamp", By: bridge.ByShared}, func() {})
		assert.Equal(t, bridge.NameHasKey, codeOf(err), what)
		assert.True(t, h.Holds().HasKey("lamp"), what)
	}
	refused(h, "at once")
	token, err := h.Registry().FreshToken(squatter.ID)
	require.NoError(t, err)
	_, err = own(h)
	require.NoError(t, err)
	given, err := h.Register(bridge.Registration{Name: "lamp", Token: token})
	require.NoError(t, err)
	assert.Equal(t, squatter.ID, given.ID, "to its token")

	h = keyedHub(t, b, true, 1)
	refused(h, "after a restart with another secret key")
	s, known := h.Tokens().Sender(given.Token)
	require.True(t, known, "what an operator gave does not hang on the secret key")
	assert.Equal(t, squatter.ID, s.ID())

	h = keyedHub(t, b, false, 1)
	assert.False(t, h.Holds().HasKey("lamp"))
	given, err = h.Register(bridge.Registration{Name: "lamp"})
	require.NoError(t, err, "where names have no keys it is open")
	h = keyedHub(t, b, true, 1)
	refused(h, "and closed again where they have")
	_, known = h.Tokens().Sender(given.Token)
	assert.False(t, known, "what the secret key gave meanwhile has ended")
	require.NoError(t, h.Forget(senderOf(h, squatter.ID)))
	_, err = h.Register(bridge.Registration{Name: "lamp"})
	require.NoError(t, err, "a forgotten name is free")
}

func senderOf(h *bridge.Hub, id bridge.SenderID) *bridge.Sender {
	s, _ := h.SenderByID(id)
	return s
}

func TestProofsAreCounted(t *testing.T) {
	h := keyedHub(t, &book{map[bridge.SenderID]bridge.Record{}}, true, 0)
	ended := map[string]int{}
	hold := func(name string, by bridge.Proof) *bridge.Hold {
		hold, err := h.Holds().Register(bridge.Naming{Name: name, Lasting: true, By: by}, func() { ended[name]++ })
		require.NoError(t, err)
		return hold
	}
	lamp, old, door := hold("lamp", byMaster), hold("old", byMaster-1), hold("door", bridge.ByShared)
	nameless := bridge.NewDevice(h, viaHTTP, false, nil)
	nameless.Register(bridge.ByShared, func() {})
	hold("web", bridge.Unproved)
	assert.Equal(t, map[bridge.Proof]int{byMaster: 1, byMaster - 1: 1, bridge.ByShared: 2}, h.Directory().Proofs())
	info, err := h.Registry().Sender(lamp.Sender().ID())
	require.NoError(t, err)
	assert.True(t, info.Own)
	assert.Equal(t, byMaster, info.By)

	assert.Zero(t, h.Holds().EndOwn("door"), "it has none")
	assert.Equal(t, 1, h.Holds().EndProved(func(p bridge.Proof) bool { return p == byMaster-1 }))
	require.NoError(t, rename(h, lamp.Sender().ID(), "light"))
	assert.Zero(t, h.Holds().EndOwn("light"), "it came by the key of its earlier name")
	assert.Equal(t, 1, h.Holds().EndOwn("lamp"))
	assert.Equal(t, map[string]int{"lamp": 1, "old": 1}, ended)
	for _, hd := range []*bridge.Hold{lamp, old, door, lamp} {
		h.Holds().Release(hd)
	}
	nameless.Close()
	nameless.Close()
	assert.Empty(t, h.Directory().Proofs())
}

// The names of configured users are theirs, whatever keys there are.
func TestAUsersNameHasNoKey(t *testing.T) {
	b := &book{map[bridge.SenderID]bridge.Record{}}
	h := keyedHub(t, b, true, 0)
	hold, err := h.Holds().Register(bridge.Naming{Name: "ann.lamp", Lasting: true, By: byMaster}, func() {})
	require.NoError(t, err)
	h.Users().Set([]string{"ann"})
	assert.False(t, h.Holds().HasKey("ann.lamp"))
	_, err = h.Holds().Register(bridge.Naming{Name: "ann.lamp", By: byMaster}, func() {})
	assert.Equal(t, bridge.NameProtected, codeOf(err))
	_, err = h.Holds().Register(bridge.Naming{Name: "ann.lamp", User: "ann"}, func() {})
	require.NoError(t, err)
	h.Holds().Release(hold)
	h.Users().Set(nil)
	assert.True(t, h.Holds().HasKey("ann.lamp"))
}
