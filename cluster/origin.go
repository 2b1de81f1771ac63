package cluster

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"watchtower/bridge"
)

// queueBytes bounds the frames of an origin that wait here. What does not fit is asked for again
// later.
const queueBytes = 8 << 20

// goneAfter is how long a gateway may be silent before its members count as gone.
const goneAfter = 5 * time.Second

// applyMost bounds how long one message may wait for a slow protocol here. After that, no
// message waits until that protocol has room again.
const applyMost = time.Second

// origin is another gateway. One goroutine delivers what it says.
type origin struct {
	node *Node
	slot bridge.Slot
	name atomic.Pointer[string]

	mu    sync.Mutex
	queue []frame
	bytes int
	wake  chan struct{}

	heard  atomic.Int64 // Unix ns: when a frame came
	ended  atomic.Bool  // this run said goodbye
	synced atomic.Bool  // its members and claims are known
	stats  stats

	// The goroutine's:
	run     uint64
	next    uint64 // the number of the next entry
	asked   time.Time
	told    uint64 // bytes that were delivered since others were told
	slow    bool   // a protocol here is behind: nothing waits
	mending bool   // what is delivered was missed
	behind  bool   // many frames wait
	names   spelled

	progress progress
	has      atomic.Pointer[having]
}

// stats are what people want to know of an origin.
type stats struct {
	messages, lost, resent, repeated, left atomic.Uint64
	skew                                   atomic.Int64 // ms by which its clock is ahead
}

func newOrigin(n *Node, slot bridge.Slot) *origin {
	o := &origin{node: n, slot: slot, wake: make(chan struct{}, 1), names: spelled{}}
	o.name.Store(new(string))
	return o
}

func (o *origin) other() bridge.Other {
	o.mu.Lock()
	waiting := o.bytes
	o.mu.Unlock()
	name := *o.name.Load()
	if name == "" {
		name = fmt.Sprintf("slot %d", o.slot)
	}
	return bridge.Other{
		Slot: o.slot, Name: name, Heard: time.Unix(0, o.heard.Load()), Here: !o.silent() && !o.ended.Load(), Known: o.synced.Load(), Waiting: waiting,
		Ahead: time.Duration(o.stats.skew.Load()) * time.Millisecond, Behind: o.node.stream.lag(o.slot),
		Messages: o.stats.messages.Load(), Lost: o.stats.lost.Load(), Resent: o.stats.resent.Load(), Repeated: o.stats.repeated.Load(),
	}
}

// take queues a frame. It waits for nothing.
func (o *origin) take(f frame) {
	if o.silent() { // it wants to know who is there
		o.node.tellState()
	}
	o.heard.Store(time.Now().UnixNano())
	o.mu.Lock()
	if o.bytes+len(f.entries) <= queueBytes || len(o.queue) == 0 {
		o.queue = append(o.queue, f)
		o.bytes += len(f.entries)
	} else {
		o.stats.left.Add(1)
	}
	o.mu.Unlock()
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

func (o *origin) taken() (some []frame) {
	o.mu.Lock()
	defer o.mu.Unlock()
	some, o.queue, o.bytes = o.queue, nil, 0
	return some
}

// serve delivers until ctx ends.
func (o *origin) serve(ctx context.Context) {
	t := time.NewTicker(beat)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-o.wake:
			all := o.taken()
			o.behind = len(all) > backlog
			for _, f := range all {
				if ctx.Err() != nil {
					return
				}
				o.apply(ctx, f)
			}
		case <-t.C:
			if o.synced.Load() && o.silent() {
				o.leave("silent")
			}
		}
	}
}

// backlog is how many frames may wait here until they count as late, as after an outage.
const backlog = 16

// isLate reports whether what is delivered was said some time ago. It may be much, so publishers, whose
// place this gateway takes, wait for members with full queues.
func (o *origin) isLate() bool { return o.mending || o.behind }

// silent reports whether the gateway was not heard for too long.
func (o *origin) silent() bool { return time.Since(time.Unix(0, o.heard.Load())) > goneAfter }

// leave forgets the members of a gateway that is gone.
func (o *origin) leave(why string) {
	n := o.node.hub.Peers().Forget(o.slot)
	o.node.hub.Peers().ReplaceGroups(o.slot, nil)
	o.node.stream.gone(o.slot)
	o.node.reports.gone(o.slot)
	o.synced.Store(false)
	o.node.log.WithField("gateway", *o.name.Load()).WithField("slot", o.slot).WithField("members", n).WithField("why", why).Warn("another gateway is gone: its members count no more")
}

// apply delivers a frame: what comes too late or twice is dropped, what is missing is asked for.
func (o *origin) apply(ctx context.Context, f frame) {
	switch {
	case f.run < o.run: // of before a restart: a server that was frozen sends it
		return
	case f.run > o.run:
		o.node.hub.Peers().Forget(o.slot)
		o.node.hub.Peers().ReplaceGroups(o.slot, nil)
		o.run, o.next = f.run, f.first
		o.synced.Store(false)
		o.progress.restart(o.run, o.next)
		o.node.tellState() // it wants to know who is there
		o.ended.Store(false)
	}
	if f.first > o.next {
		o.mend(ctx, f.first)
	}
	if f.first > o.next {
		o.lose(f.first - o.next)
		o.next = f.first
	}
	o.deliver(f)
	if !o.synced.Load() && !o.ended.Load() && *o.name.Load() != "" && time.Since(o.asked) > beat {
		o.sync(ctx)
	}
	if o.told += uint64(len(f.entries)); o.told >= tellEvery {
		o.told = 0
		o.node.tellState()
	}
}

// lose counts entries that are not to be had any more. There may be memberships among them.
func (o *origin) lose(n uint64) {
	o.stats.lost.Add(n)
	o.asked = time.Time{}
	o.synced.Store(false)
	o.node.log.WithField("gateway", *o.name.Load()).WithField("slot", o.slot).WithField("messages", n).Warn("messages of another gateway are lost: it keeps them no more")
}

// deliver delivers those entries of a frame that are new.
func (o *origin) deliver(f frame) {
	if f.n > 0 && f.after() <= o.next {
		o.stats.repeated.Add(f.n)
	}
	f.each(func(number uint64, k kind, body []byte) {
		switch {
		case !k.numbered():
			o.state(k, body)
		case number >= o.next:
			o.next = number + 1
			o.progress.begun.Store(o.next)
			o.entry(k, body, bridge.NewSerial(o.slot, number))
			o.progress.done.Store(o.next)
		}
	})
	o.progress.begun.Store(o.next) // it may have lost some
	o.progress.done.Store(o.next)
	o.has.Store(&having{o.slot, o.run, o.next})
}

func (o *origin) entry(k kind, body []byte, serial bridge.Serial) {
	switch k {
	case kindMessage:
		now := time.Now()
		m, reported := readMessage(body, o.names, now)
		if m == nil {
			return
		}
		if reported {
			o.node.tellReport(o.slot, m)
		}
		m.Gateway, m.Late = o.slot, o.isLate()
		m.SetSerial(serial)
		if o.slow = o.slow && !o.node.hub.Directory().HasRoom(); o.slow {
			m.Wait = false
		}
		o.stats.messages.Add(1)
		o.node.hub.Peers().Inject(m)
		if m.Wait && time.Since(now) > applyMost {
			o.slow = true
		}
	case kindTopic:
		if m := readTopic(body, o.names, time.Now()); m != nil {
			m.Late, m.Serial = o.isLate(), serial
			o.stats.messages.Add(1)
			o.node.hub.Peers().InjectTopic(m)
		}
	case kindMember:
		if m, ok := readMember(body); ok && o.synced.Load() { // else it is among those that are asked for
			o.node.hub.Peers().Learn(o.slot, *o.name.Load(), []bridge.PeerMember{m})
		}
	case kindReport:
		if r, ok := readReport(body); ok && r.to == o.node.opts.Slot {
			o.node.reports.told(o.slot, r)
		}
	case kindLeave:
		if m, ok := readLeave(body); ok {
			if end := o.node.hub.Peers().LearnLeave(m.Sender, m.Channel); end != nil {
				o.node.lose([]func(){end})
			}
		}
	case kindGroup:
		if g, ok := readGroup(body); ok && o.synced.Load() {
			o.node.hub.Peers().LearnGroup(o.slot, g)
		}
	case kindOpen:
		if c, ok := readClaim(body); ok && o.synced.Load() {
			o.node.lose(o.node.hub.Peers().LearnClaims(o.slot, []bridge.Claim{c}))
		}
	case kindBye:
		o.leave("stopped")
		o.ended.Store(true)
	}
}

func (o *origin) state(k kind, body []byte) {
	s, ok := readState(body)
	if k != kindState || !ok {
		return
	}
	if s.name != *o.name.Load() {
		o.name.Store(&s.name)
		o.synced.Store(false) // its topics have its name
	}
	if s.name == o.node.opts.Name && o.run < o.node.opts.Run {
		o.node.fail(fmt.Errorf("gateway.name: the gateway of slot %d has the name %s, too: %w", o.slot, s.name, ErrRival))
	}
	o.skewed(time.Until(time.UnixMilli(s.clock)))
	if i := slices.IndexFunc(s.has, func(h having) bool { return h.slot == o.node.opts.Slot }); i >= 0 {
		o.node.stream.has(o.slot, s.has[i].run, s.has[i].before)
	}
}

// skewMost is by how much another clock may differ before people are told.
const skewMost = time.Second

func (o *origin) skewed(by time.Duration) {
	was := o.stats.skew.Swap(by.Milliseconds())
	if by.Abs() > skewMost && time.Duration(was)*time.Millisecond < skewMost && time.Duration(was)*time.Millisecond > -skewMost {
		o.node.log.WithField("gateway", *o.name.Load()).WithField("ahead", by.Round(time.Millisecond)).Warn("another gateway's clock differs: messages with a time to live may expire too early or too late")
	}
}
