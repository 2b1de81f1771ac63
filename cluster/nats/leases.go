package nats

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/sirupsen/logrus"

	"watchtower/bridge"
)

// Leases are the bridge.Leases of a space. They are in a bucket, WT_<space>_LEASE:
//
//	run.<slot>  the run of a gateway that is there, which writes it again every 3 s; empty: it has ended
//	<lease>     <slot>:<run> of the gateway that has it; empty: it was given back
//	at.<lease>  what its holder leaves to the next
//	for.<lease> <slot>:<run> of the gateway that wants it more than others; empty: none does
//
// A lease counts while that run of its gateway is there. A gateway that has not written its run
// for 7 s does nothing more that needs a lease. One that has seen another's unchanged for 10 s
// ends it, by a write that fails if there was another since. Who takes a lease makes sure that the
// run of its last holder is over, whatever it has heard. So there is no time at which two
// have a lease, whatever is late or frozen: only durations count, each by one gateway's clock.
// Without a quorum nothing can be written: then nobody has a lease.
type Leases struct {
	transport *Transport
	slot      bridge.Slot
	pace      pace
	log       *logrus.Logger

	mu      sync.Mutex
	kv      jetstream.KeyValue // nil: not opened yet
	ready   bool               // all that the bucket has is known
	entries map[string]entry
	run     uint64 // this gateway's; 0: it has none yet
	begun   moment // of the newest write of the run
	held    map[string]*held
	free    map[string]time.Time // since when leases that this gateway wants are nobody's
	prefer  map[string]bool
	closing bool
	expiry  *time.Timer
	changed chan struct{} // closed at each change
	reopen  chan struct{}
	works   sync.WaitGroup
	told    int // leases that move, as the log has it
}

// entry is what the bucket has of a key.
type entry struct {
	value    []byte
	revision uint64
	at       time.Time // when it was heard
	since    time.Time // when it was heard with another value
	made     time.Time // by the server's clock
}

// pace are the durations of leases.
type pace struct {
	renew  time.Duration // between two writes of the run
	stop   time.Duration // after which a gateway that cannot write stops
	over   time.Duration // after which others end its run
	look   time.Duration // between two looks at what the others do
	favour time.Duration // for which a free lease is left to the gateway that should have it
}

var usualPace = pace{renew: 3 * time.Second, stop: 7 * time.Second, over: 10 * time.Second, look: 500 * time.Millisecond, favour: 2 * time.Second}

// held is a lease that this gateway has.
type held struct {
	leases *Leases
	name   string
	run    uint64
	moves  bool
	lose   context.CancelFunc
}

// moment is a time by the clock that never steps, and by the one that goes on while the machine sleeps.
type moment struct{ monotonic, wall time.Time }

func now() moment { t := time.Now(); return moment{t, t.Round(0)} }

// within reports whether less than d has passed.
func (m moment) within(d time.Duration) bool {
	return time.Since(m.monotonic) < d && time.Now().Round(0).Sub(m.wall) < d
}

// NewLeases returns the leases for the gateway of a slot.
func NewLeases(t *Transport, slot bridge.Slot, log *logrus.Logger) *Leases {
	return &Leases{
		transport: t, slot: slot, pace: usualPace, log: log, entries: map[string]entry{}, held: map[string]*held{},
		free: map[string]time.Time{}, prefer: map[string]bool{}, changed: make(chan struct{}), reopen: make(chan struct{}, 1),
	}
}

// heardSoon is how long what another gateway has just written may take to be heard.
const heardSoon = 2 * time.Millisecond

const runPrefix, leftPrefix, forPrefix = "run.", "at.", "for."

func runKey(slot bridge.Slot) string { return fmt.Sprintf("%s%d", runPrefix, slot) }

func holderText(slot bridge.Slot, run uint64) string { return fmt.Sprintf("%d:%d", slot, run) }

// holderOf reads who has a lease; 0: nobody.
func (e entry) holderOf() (slot bridge.Slot, run uint64) {
	if _, err := fmt.Sscanf(string(e.value), "%d:%d", &slot, &run); err != nil {
		return 0, 0
	}
	return slot, run
}

// runOf reads a gateway's run; 0: it has ended.
func (e entry) runOf() (run uint64) {
	_, _ = fmt.Sscan(string(e.value), &run)
	return run
}

// Serve takes part until ctx ends. Then it waits for the works to end, and ends this gateway's run.
func (l *Leases) Serve(ctx context.Context) {
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	var own sync.WaitGroup
	own.Go(func() { l.follow(life) })
	own.Go(func() { l.renewals(life) })
	own.Go(func() { l.look(life) })
	<-ctx.Done()
	l.mu.Lock()
	l.closing = true
	l.changedLocked()
	l.mu.Unlock()
	l.works.Wait()
	end()
	own.Wait()
	l.endRun(ctx)
}

// endRun tells the others that this gateway needs no lease any more.
func (l *Leases) endRun(ctx context.Context) {
	l.mu.Lock()
	kv, e, ours := l.kv, l.entries[runKey(l.slot)], l.run != 0 && l.entries[runKey(l.slot)].runOf() == l.run
	if l.expiry != nil {
		l.expiry.Stop()
	}
	l.mu.Unlock()
	if kv == nil || !ours || l.transport.Healthy() != nil {
		return
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if _, err := kv.Update(last, runKey(l.slot), nil, e.revision); err != nil {
		l.log.WithError(err).Debug("the others wait until this gateway's run is over")
	}
}

// Run is bridge.Leases'.
func (l *Leases) Run(ctx context.Context, name string, moves bool, work func(context.Context, bridge.Lease)) {
	l.mu.Lock()
	if l.closing {
		l.mu.Unlock()
		return
	}
	l.works.Add(1)
	l.mu.Unlock()
	defer l.works.Done()
	for {
		free, goesOn := l.await(ctx, name)
		if !goesOn {
			break
		}
		life, lose := context.WithCancel(ctx)
		h, err := l.take(ctx, free, name, moves, lose)
		if err == nil {
			work(life, h)
			l.giveBack(h)
		}
		lose()
		pause := retry
		if errors.Is(err, errChanged) {
			pause = heardSoon
		}
		if err != nil && !wait(ctx, pause) {
			break
		}
	}
	l.mu.Lock()
	delete(l.free, name)
	l.mu.Unlock()
}

// state is a place in the bucket as it was when a decision was made: a write that follows from it
// fails if it has changed since.
type state struct {
	kv       jetstream.KeyValue
	run      uint64 // this gateway's
	revision uint64
}

// await waits until a lease is this gateway's to take. False: ctx has ended.
func (l *Leases) await(ctx context.Context, name string) (free state, goesOn bool) {
	for {
		l.mu.Lock()
		changed, closing := l.changed, l.closing
		pause, takes := l.mayTakeLocked(name)
		free := state{l.kv, l.run, l.entries[name].revision}
		l.mu.Unlock()
		if closing || ctx.Err() != nil {
			return free, false
		}
		if takes && pause <= 0 {
			return free, true
		}
		if !takes {
			pause = l.pace.over
		}
		t := time.NewTimer(pause)
		select {
		case <-ctx.Done():
		case <-changed:
		case <-t.C:
		}
		t.Stop()
	}
}

// mayTakeLocked reports whether this gateway may take a lease, and how long it waits before.
func (l *Leases) mayTakeLocked(name string) (pause time.Duration, takes bool) {
	if !l.ready || !l.validLocked(l.run) {
		return 0, false
	}
	slot, run := l.entries[name].holderOf()
	if slot == l.slot && run == l.run {
		return 0, true // it was written, and nobody told
	}
	if slot != 0 && l.thereLocked(slot, run) {
		delete(l.free, name)
		return 0, false
	}
	since, known := l.free[name]
	if !known {
		since = time.Now()
		l.free[name] = since
	}
	if l.favouredLocked(name, 0) == l.slot {
		return 0, true
	}
	return l.pace.favour - time.Since(since), true
}

// thereLocked reports whether a run of a gateway has not ended.
func (l *Leases) thereLocked(slot bridge.Slot, run uint64) bool {
	return run != 0 && l.entries[runKey(slot)].runOf() == run
}

// favouredLocked returns the gateway that should have a lease: the one that wants it more than
// others, else another one for each lease, of which only
// those count that have been there for some time.
func (l *Leases) favouredLocked(name string, there time.Duration) (best bridge.Slot) {
	if slot, run := l.entries[forPrefix+name].holderOf(); l.thereLocked(slot, run) {
		return slot
	}
	var most uint64
	for key, e := range l.entries {
		if !strings.HasPrefix(key, runPrefix) || e.runOf() == 0 || time.Since(e.since) < there || time.Since(e.at) >= l.pace.over {
			continue
		}
		var slot bridge.Slot
		if _, err := fmt.Sscan(key[len(runPrefix):], &slot); err != nil {
			continue
		}
		h := fnv.New64a()
		_, _ = fmt.Fprint(h, slot, name)
		if sum := scrambled(h.Sum64()); best == 0 || sum > most {
			best, most = slot, sum
		}
	}
	return best
}

// scrambled makes each bit of a hash depend on all of them.
func scrambled(h uint64) uint64 {
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	h *= 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}

func (l *Leases) changedLocked() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// Abandon ends all works now: the gateway fails.
func (l *Leases) Abandon() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closing = true
	l.loseLocked("the gateway fails")
}

// validLocked reports whether a run is this gateway's, and no other gateway can have ended it.
func (l *Leases) validLocked(run uint64) bool {
	return run != 0 && run == l.run && l.begun.within(l.pace.stop)
}

// loseLocked ends all works. The next run is another one.
func (l *Leases) loseLocked(why string) {
	if len(l.held) > 0 && !l.closing {
		l.log.WithField("leases", len(l.held)).Warn(why)
	}
	for name, h := range l.held {
		delete(l.held, name)
		h.lose()
	}
	l.run = 0
	l.changedLocked()
}
