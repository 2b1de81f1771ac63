package cluster_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
)

// viaDevice is not the bus's protocol.
var viaDevice = bridge.NewProtocol("device")

// speaker is a device that speaks for its name until another does.
type speaker struct {
	*bridge.Device
	displaced atomic.Bool
}

// speaks registers a device of a name, which speaks for it.
func (g *gateway) speaks(name string) *speaker {
	s := &speaker{Device: bridge.NewDevice(g.hub, viaDevice, true, nil)}
	wait, err := s.RegisterName(name, bridge.Unproved, func() {})
	require.NoError(g.t, err)
	if wait != nil {
		require.NoError(g.t, wait())
	}
	s.Claim(func() {
		s.displaced.Store(true)
		s.Close()
	})
	return s
}

func TestANameIsSpokenForAtOneGateway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire()
		a, b := w.start(t, 1), w.start(t, 2)
		time.Sleep(2 * time.Second)
		was := a.speaks("lamp")
		synctest.Wait()
		assert.NotZero(t, b.hub.Peers().SpeaksElsewhere(was.Sender().ID()))
		for range 20 { // it roams
			is := b.speaks("lamp")
			synctest.Wait()
			assert.True(t, was.displaced.Load())
			assert.False(t, is.displaced.Load())
			was, a, b = is, b, a
		}
		id := was.Sender().ID()
		was.Close()
		synctest.Wait()
		assert.Zero(t, a.hub.Peers().SpeaksElsewhere(id))
		assert.Zero(t, b.hub.Peers().SpeaksElsewhere(id))
		a.stop()
		b.stop()
	})
}

// A gateway that starts or is back learns what others claim; of what two claimed meanwhile, the
// newer stays.
func TestClaimsAfterAPartition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire()
		a, b := w.start(t, 1), w.start(t, 2)
		time.Sleep(2 * time.Second)
		w.between(1, 2, true)
		time.Sleep(7 * time.Second)
		var older, newer []*speaker
		for i := range 50 {
			first, second := a, b
			if i%2 == 1 {
				first, second = b, a
			}
			older = append(older, first.speaks(fmt.Sprint("d", i)))
			time.Sleep(10 * time.Millisecond)
			newer = append(newer, second.speaks(fmt.Sprint("d", i)))
		}
		time.Sleep(time.Second)
		for i := range older {
			assert.False(t, older[i].displaced.Load() || newer[i].displaced.Load(), "both go on while they are apart")
		}
		w.between(1, 2, false)
		time.Sleep(5 * time.Second)
		c := w.start(t, 3)
		time.Sleep(3 * time.Second)
		for i := range older {
			assert.True(t, older[i].displaced.Load(), "d%d", i)
			assert.False(t, newer[i].displaced.Load(), "d%d", i)
			assert.NotZero(t, c.hub.Peers().SpeaksElsewhere(newer[i].Sender().ID()))
		}
		a.stop()
		synctest.Wait()
		assert.Zero(t, b.hub.Peers().SpeaksElsewhere(newer[1].Sender().ID()), "its gateway has stopped")
		b.stop()
		c.stop()
	})
}

// However bad the wire is: who came last stays, and nobody else.
func TestClaimsOnABadWire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire()
		var all []*gateway
		for slot := bridge.Slot(1); slot <= 3; slot++ {
			all = append(all, w.start(t, slot))
		}
		time.Sleep(3 * time.Second)
		w.set(20, 20, 20)
		var came []*speaker
		for i := range 300 {
			came = append(came, all[i%3].speaks("lamp"))
			time.Sleep(time.Duration(i%40) * time.Millisecond)
		}
		w.set(0, 0, 0)
		time.Sleep(5 * time.Second)
		for i, s := range came {
			require.Equal(t, i < len(came)-1, s.displaced.Load(), "the one that came as number %d", i)
		}
		for _, g := range all {
			g.stop()
		}
	})
}

// Of claims of one time the one with a client counts, then the lower slot.
func TestClaimsOfOneTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire()
		a, b := w.start(t, 1), w.start(t, 2)
		time.Sleep(2 * time.Second)
		w.between(1, 2, true)
		var lost [6]atomic.Bool
		claim := func(g *gateway, i int, s bridge.Standing) {
			g.hub.Peers().Claim(bridge.Claim{Key: bridge.NewClaimKey(fmt.Sprint(i / 2)), At: 7, Standing: s}, func(bridge.Claim) { lost[i].Store(true) })
		}
		claim(a, 0, bridge.Waiting)
		claim(b, 1, bridge.Adopted)
		claim(a, 2, bridge.Adopted)
		claim(b, 3, bridge.Live)
		claim(a, 4, bridge.Live)
		claim(b, 5, bridge.Live)
		w.between(1, 2, false)
		time.Sleep(3 * time.Second)
		for i, want := range []bool{true, false, true, false, false, true} {
			assert.Equal(t, want, lost[i].Load(), "%d", i)
		}
		a.stop()
		b.stop()
	})
}
