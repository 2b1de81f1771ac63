package nats

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
	"watchtower/config"
	"watchtower/internal/harness"
)

// quick is twenty times as fast as gateways are.
var quick = pace{renew: usualPace.renew / 20, stop: usualPace.stop / 20, over: usualPace.over / 20, look: usualPace.look / 20, favour: usualPace.favour / 20}

// leases takes part in the leases of a space until end is called, or the test ends.
func leases(t *testing.T, url string, slot bridge.Slot, p pace) (l *Leases, end func()) {
	t.Helper()
	log := logrus.New()
	log.SetOutput(t.Output())
	tr, err := Connect(Options{Cluster: config.Cluster{URL: url, Space: "home"}, Limits: config.Default().Limits, Gateway: fmt.Sprint("g", slot)}, log)
	require.NoError(t, err)
	l = NewLeases(tr, slot, log)
	l.pace = p
	ctx, cancel := context.WithCancel(t.Context())
	var serving sync.WaitGroup
	serving.Go(func() { l.Serve(ctx) })
	end = sync.OnceFunc(func() {
		cancel()
		serving.Wait()
		tr.Close()
	})
	t.Cleanup(end)
	return l, end
}

// worker does work that only one may do.
type worker struct {
	*Leases
	begun, ended atomic.Int64
	does         atomic.Bool
	stop         func()
}

// active are those who do the work of a lease now.
type active struct {
	mu  sync.Mutex
	all []bridge.Lease
}

func (a *active) begins(l bridge.Lease) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.all = append(a.all, l)
}

func (a *active) ends(l bridge.Lease) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.all = slices.DeleteFunc(a.all, func(other bridge.Lease) bool { return other == l })
}

// alone fails the test if another has a lease between two moments at which somebody has it. Who has
// lost it may end its work later: the machine may be busy.
func (a *active) alone(t testing.TB, l bridge.Lease) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, other := range a.all {
		if other != l && l.Held() && other.Held() && l.Held() {
			t.Error("two have the same lease")
		}
	}
}

// works has a gateway do the work of a lease when it may.
func works(t *testing.T, l *Leases, name string, moves bool, all *active) *worker {
	ctx, cancel := context.WithCancel(t.Context())
	w := &worker{Leases: l}
	var running sync.WaitGroup
	running.Go(func() {
		l.Run(ctx, name, moves, func(ctx context.Context, lease bridge.Lease) {
			w.begun.Add(1)
			all.begins(lease)
			w.does.Store(true)
			for all.alone(t, lease); wait(ctx, quick.look); {
				all.alone(t, lease)
			}
			w.does.Store(false)
			all.ends(lease)
			w.ended.Add(1)
		})
	})
	w.stop = sync.OnceFunc(func() {
		cancel()
		running.Wait()
	})
	t.Cleanup(w.stop)
	return w
}

func soon(t *testing.T, what string, is func() bool) {
	t.Helper()
	require.Eventually(t, is, harness.Patience, 2*time.Millisecond, what)
}

// Whoever asks for a lease, one has it at a time, and everybody gets it in the end.
func TestTwoRaceForALease(t *testing.T) {
	servers := harness.StartNATS(t, 1, "")
	p := usualPace
	p.favour = 0
	a, _ := leases(t, servers.URL(), 1, p)
	b, _ := leases(t, servers.URL(), 2, p)
	first := map[bridge.Slot]int{}
	for i := range 1000 {
		name := fmt.Sprint("race", i)
		var on, most atomic.Int64
		var order atomic.Uint32
		var both sync.WaitGroup
		for _, l := range []*Leases{a, b} {
			both.Go(func() {
				ctx, done := context.WithCancel(t.Context())
				defer done()
				l.Run(ctx, name, false, func(_ context.Context, lease bridge.Lease) {
					order.CompareAndSwap(0, uint32(l.slot))
					if on.Add(1) > 1 || !lease.Held() {
						most.Add(1)
					}
					on.Add(-1)
					done()
				})
			})
		}
		both.Wait()
		require.Zero(t, most.Load(), "two had the lease %d", i)
		first[bridge.Slot(order.Load())]++
	}
	t.Log("who was first:", first)
}

// A lease is given back at once, and also that of a gateway that ends.
func TestALeaseIsGivenBack(t *testing.T) {
	servers := harness.StartNATS(t, 1, "")
	p := usualPace // nothing is over within the test
	p.over, p.stop = time.Hour, time.Hour
	a, _ := leases(t, servers.URL(), 1, p)
	b, endB := leases(t, servers.URL(), 2, p)
	var all active
	one := works(t, a, "ha", false, &all)
	soon(t, "a has it", one.does.Load)
	assert.Equal(t, bridge.Slot(1), a.Holders()[0].Slot)
	assert.WithinDuration(t, time.Now(), a.Holders()[0].Since, time.Minute)
	other := works(t, b, "ha", false, &all)
	one.stop()
	soon(t, "b has it", other.does.Load)
	soon(t, "a knows", func() bool { h := a.Holders(); return len(h) == 1 && h[0].Slot == 2 })
	one = works(t, a, "ha", false, &all)
	other.stop()
	endB()
	soon(t, "a has it again", one.does.Load)
}

// A holder that is cut off stops by itself before another begins, and is no holder when it is back.
func TestAHolderThatIsCutOffStops(t *testing.T) {
	servers := harness.StartNATS(t, 1, "")
	cable := harness.NewCable(t, servers.Address(0))
	a, _ := leases(t, "nats://"+cable.Addr(), 1, quick)
	b, _ := leases(t, servers.URL(), 2, quick)
	var all active
	one := works(t, a, "ha", false, &all)
	soon(t, "a has it", one.does.Load)
	other := works(t, b, "ha", false, &all)
	for _, cut := range []func(){cable.Freeze, cable.Cut} {
		begun := other.begun.Load()
		cut()
		soon(t, "b has it", func() bool { return other.does.Load() && other.begun.Load() > begun })
		soon(t, "a ends its work", func() bool { return !one.does.Load() })
		cable.Mend()
		begun = one.begun.Load()
		other.stop()
		soon(t, "a has it again", func() bool { return one.does.Load() && one.begun.Load() > begun })
		other = works(t, b, "ha", false, &all)
	}
}

// What a gateway has heard of another may be out of date. It takes no lease by that.
func TestNoLeaseIsTakenByWhatIsOutOfDate(t *testing.T) {
	servers := harness.StartNATS(t, 1, "")
	p := usualPace
	p.favour = 0
	a, _ := leases(t, servers.URL(), 1, p)
	b, _ := leases(t, servers.URL(), 2, p)
	var all active
	one := works(t, a, "ha", false, &all)
	soon(t, "a has it", one.does.Load)
	require.NoError(t, a.renew(t.Context())) // so that the first revision is out of date
	soon(t, "b knows", func() bool {
		b.mu.Lock()
		revision := b.entries[runKey(1)].revision
		b.mu.Unlock()
		return revision > 1 && b.HasHolder("ha")
	})
	other := works(t, b, "ha", false, &all)
	for what, late := range map[string]entry{"nothing was heard": {}, "an earlier run was heard": {value: []byte("7"), revision: 1}} {
		b.mu.Lock()
		now := b.entries[runKey(1)].revision
		b.entries[runKey(1)] = late
		b.changedLocked()
		b.mu.Unlock()
		soon(t, what, func() bool {
			b.mu.Lock()
			defer b.mu.Unlock()
			return b.entries[runKey(1)].revision >= now
		})
		assert.Zero(t, other.begun.Load(), what)
		assert.True(t, one.does.Load(), what)
	}
}

// Without a quorum the holder stops, and nobody else begins.
func TestWithoutAQuorumNobodyHasALease(t *testing.T) {
	servers := harness.StartNATS(t, 3, "")
	a, _ := leases(t, servers.URL(), 1, quick)
	b, _ := leases(t, servers.URL(), 2, quick)
	var all active
	both := []*worker{works(t, a, "ha", false, &all), works(t, b, "ha", false, &all)}
	does := func() bool { return both[0].does.Load() || both[1].does.Load() }
	soon(t, "one has it", does)
	servers.Kill(0)
	servers.Kill(1)
	soon(t, "nobody has it", func() bool { return !does() })
	for end := time.Now().Add(3 * quick.over); time.Now().Before(end); <-time.After(quick.look) {
		require.False(t, does(), "somebody begins without a quorum")
	}
	servers.Start(0)
	soon(t, "one has it again", does)
}

// Gateways share the leases that move, and what a holder leaves comes to the next.
func TestLeasesMoveToAGatewayThatIsNew(t *testing.T) {
	servers := harness.StartNATS(t, 1, "")
	a, _ := leases(t, servers.URL(), 1, quick)
	var all [64]active
	var atA, atB []*worker
	for i := range all {
		atA = append(atA, works(t, a, fmt.Sprint("cb.", i), true, &all[i]))
	}
	doing := func(all []*worker) (n int) {
		for _, w := range all {
			if w.does.Load() {
				n++
			}
		}
		return n
	}
	soon(t, "a has all", func() bool { return doing(atA) == 64 })
	b, endB := leases(t, servers.URL(), 2, quick)
	for i := range all {
		atB = append(atB, works(t, b, fmt.Sprint("cb.", i), true, &all[i]))
	}
	soon(t, "b has its part", func() bool { n := doing(atB); return n > 15 && n < 49 && doing(atA) == 64-n })
	for _, w := range atB {
		w.stop()
	}
	endB()
	soon(t, "a has all again", func() bool { return doing(atA) == 64 })
}

// A holder whose Save was written, but not answered in time, can leave something newer.
func TestAHolderLeavesSomethingAfterAnAnswerThatDidNotCome(t *testing.T) {
	servers := harness.StartNATS(t, 1, "")
	a, _ := leases(t, servers.URL(), 1, usualPace)
	ctx, end := context.WithCancel(t.Context())
	a.Run(ctx, "cb.1", true, func(ctx context.Context, l bridge.Lease) {
		_, err := l.Load(ctx)
		assert.NoError(t, err)
		servers.Signal(0, syscall.SIGSTOP)
		soon, late := context.WithTimeout(ctx, 20*time.Millisecond)
		assert.Error(t, l.Save(soon, []byte("page 7")))
		late()
		servers.Signal(0, syscall.SIGCONT)
		assert.NoError(t, l.Save(ctx, []byte("page 8")))
		end()
	})
	soon(t, "the newest is there", func() bool { return string(a.Left("cb.1")) == "page 8" })
}

// What a holder leaves, the next one has; who has lost the lease leaves nothing more.
func TestAHolderLeavesSomethingToTheNext(t *testing.T) {
	servers := harness.StartNATS(t, 1, "")
	a, _ := leases(t, servers.URL(), 1, usualPace)
	b, _ := leases(t, servers.URL(), 2, usualPace)
	var old bridge.Lease
	ctx, end := context.WithCancel(t.Context())
	a.Run(ctx, "cb.1", true, func(ctx context.Context, l bridge.Lease) {
		left, err := l.Load(ctx)
		assert.Empty(t, left)
		assert.NoError(t, err)
		assert.NoError(t, l.Save(ctx, []byte("page 7")))
		assert.Error(t, l.Save(ctx, make([]byte, bridge.LeftBytes+1)))
		old = l
		end()
	})
	ctx, end = context.WithCancel(t.Context())
	b.Run(ctx, "cb.1", true, func(ctx context.Context, l bridge.Lease) {
		left, err := l.Load(ctx)
		assert.NoError(t, err)
		assert.Equal(t, "page 7", string(left))
		assert.Error(t, old.Save(ctx, []byte("page 8")))
		left, err = l.Load(ctx)
		assert.NoError(t, err)
		assert.Equal(t, "page 7", string(left))
		end()
	})
	soon(t, "a hears it", func() bool { return string(a.Left("cb.1")) == "page 7" })
}
