package keys_test

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"watchtower/bridge"
	"watchtower/wire/frame"
	"watchtower/wire/keys"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// paper is a document that may be full. As one on disk it writes later what it could not.
type paper struct {
	value, late []byte
	full        bool
}

func (p *paper) Load() ([]byte, error) { return p.value, nil }

func (p *paper) Save(b []byte) error {
	if p.late = nil; p.full {
		p.late = b
		return errors.New("full")
	}
	p.value = b
	return nil
}

// settle makes room, and writes what was late.
func (p *paper) settle() {
	p.full = false
	if p.late != nil {
		p.value = p.late
	}
}

func fresh() []byte {
	b := make([]byte, 32)
	_, _ = rand.Read(b)
	return b
}

func open(t *testing.T, p *paper) *keys.Ring {
	r, err := keys.Open(p, fresh, keys.Options{Mode: keys.Accepted})
	require.NoError(t, err)
	return r
}

func keyOf(t *testing.T, r *keys.Ring, name string) frame.Key {
	k, _, err := r.Key(name)
	require.NoError(t, err)
	return k
}

// counts reports whether a key of a name counts, and as what.
func counts(r *keys.Ring, name string, k frame.Key) keys.Kind {
	list, _ := r.Own([]byte(name))
	for _, o := range list {
		if o.Key == k {
			return r.Kind(o.By)
		}
	}
	return ""
}

func TestWhatIsKeptOutlivesARestart(t *testing.T) {
	p := &paper{}
	r := open(t, p)
	first, door := keyOf(t, r, "lamp"), keyOf(t, r, "door")
	assert.Equal(t, first, keyOf(t, open(t, p), "lamp"))
	generation, err := r.Revoke("lamp")
	require.NoError(t, err)
	assert.EqualValues(t, 1, generation)
	require.NoError(t, r.Rotate(fresh(), time.Now().Add(time.Hour)))
	last := keyOf(t, r, "lamp")
	r = open(t, p)
	assert.Equal(t, last, keyOf(t, r, "lamp"))
	assert.Equal(t, keys.Own, counts(r, "lamp", last))
	assert.Empty(t, counts(r, "lamp", first), "revoked, of either master")
	assert.Equal(t, keys.Previous, counts(r, "door", door))
	assert.Equal(t, map[string]byte{"lamp": 1}, r.Status().Revoked)
	assert.WithinDuration(t, time.Now().Add(time.Hour), r.Status().Until, time.Minute)
}

func TestAFullDiskChangesNothing(t *testing.T) {
	p := &paper{}
	r := open(t, p)
	before := keyOf(t, r, "lamp")
	p.full = true
	_, err := r.Revoke("lamp")
	var refusal *bridge.Error
	require.ErrorAs(t, err, &refusal)
	assert.Equal(t, bridge.StoreFailed, refusal.Code)
	require.Error(t, r.Rotate(fresh(), time.Now()))
	assert.Equal(t, before, keyOf(t, r, "lamp"))
	p.settle()
	assert.Equal(t, before, keyOf(t, open(t, p), "lamp"), "nor later")
}

// A gateway starts although its first master cannot be written, as at an upgrade on a full
// disk. It shows no key until the master is on disk.
func TestAFirstMasterThatCannotBeWritten(t *testing.T) {
	p, told := &paper{full: true}, 0
	r, err := keys.Open(p, fresh, keys.Options{Mode: keys.Accepted, Unwritten: func(error) { told++ }})
	require.NoError(t, err)
	assert.Equal(t, 1, told)
	_, _, err = r.Key("lamp")
	var refusal *bridge.Error
	require.ErrorAs(t, err, &refusal)
	assert.Equal(t, bridge.StoreFailed, refusal.Code)
	p.full = false
	key := keyOf(t, r, "lamp")
	assert.Equal(t, key, keyOf(t, open(t, p), "lamp"))
}

func TestWhatIsNoMaster(t *testing.T) {
	_, err := keys.Open(&paper{}, nil, keys.Options{})
	require.ErrorIs(t, err, keys.ErrNone)
	for _, b := range []string{"{}", "x", `{"master":"AAAA"}`, `{"master":"` + strings.Repeat("A", 43) + `=","previous":"AAAA"}`} {
		_, err := keys.Open(&paper{value: []byte(b)}, fresh, keys.Options{})
		assert.ErrorContains(t, err, "damaged", b)
	}
	r := open(t, &paper{})
	for _, name := range []string{"", "a b", strings.Repeat("x", 33), "ä"} {
		_, _, err := r.Key(name)
		assert.Error(t, err, name)
		_, err = r.Revoke(name)
		assert.Error(t, err, name)
	}
}

// The last generation is the last: the next would be the first again.
func TestGenerationsEnd(t *testing.T) {
	r := open(t, &paper{})
	seen := map[frame.Key]bool{keyOf(t, r, "lamp"): true}
	for range 255 {
		_, err := r.Revoke("lamp")
		require.NoError(t, err)
		seen[keyOf(t, r, "lamp")] = true
	}
	assert.Len(t, seen, 256)
	_, err := r.Revoke("lamp")
	assert.ErrorContains(t, err, "255 keys")
}

func TestTheDateOfThePreviousMaster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &paper{}
		r := open(t, p)
		ctx, cancel := context.WithCancel(t.Context())
		var over atomic.Int32
		done := make(chan struct{})
		go func() { defer close(done); r.Run(ctx, func() { over.Add(1) }) }()
		first := keyOf(t, r, "lamp")
		list, _ := r.Own([]byte("lamp"))
		require.NoError(t, r.Rotate(fresh(), time.Now().Add(24*time.Hour)))
		time.Sleep(24*time.Hour - time.Second)
		synctest.Wait()
		assert.Zero(t, over.Load())
		assert.Equal(t, keys.Previous, counts(r, "lamp", first))
		assert.False(t, r.Over(list[0].By))
		time.Sleep(2 * time.Second)
		synctest.Wait()
		assert.EqualValues(t, 1, over.Load())
		assert.Empty(t, counts(r, "lamp", first))
		assert.True(t, r.Over(list[0].By))
		assert.False(t, r.Over(bridge.ByShared))
		assert.NotContains(t, string(p.value), "previous", "it is forgotten")
		time.Sleep(time.Hour)
		synctest.Wait()
		assert.EqualValues(t, 1, over.Load())
		cancel()
		<-done
	})
}
