package cluster

import (
	"context"
	"sync/atomic"
	"time"

	"watchtower/bridge"
)

// progress is how far the messages of an origin were delivered here. Its origin's goroutine
// writes it, others read it.
type progress struct{ run, begun, done atomic.Uint64 }

// point reads one of the numbers of a run.
func (p *progress) point(slot bridge.Slot, number *atomic.Uint64) (bridge.Point, bool) {
	run := p.run.Load()
	before := number.Load()
	return bridge.Point{Slot: slot, Run: run, Before: before}, run != 0 && p.run.Load() == run
}

// restart begins with another run of the origin.
func (p *progress) restart(run, next uint64) {
	p.run.Store(0)
	p.begun.Store(next)
	p.done.Store(next)
	p.run.Store(run)
}

// Begun is bridge.Points'.
func (n *Node) Begun() []bridge.Point {
	return n.points(func(p *progress) *atomic.Uint64 { return &p.begun })
}

// Done is bridge.Points'.
func (n *Node) Done() []bridge.Point {
	return n.points(func(p *progress) *atomic.Uint64 { return &p.done })
}

func (n *Node) points(of func(*progress) *atomic.Uint64) []bridge.Point {
	next, _ := n.stream.end()
	all := []bridge.Point{{Slot: n.opts.Slot, Run: n.opts.Run, Before: next}}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, o := range n.origins {
		if p, ok := o.progress.point(o.slot, of(&o.progress)); ok {
			all = append(all, p)
		}
	}
	return all
}

// reachEvery is between two looks whether a point was reached.
const reachEvery = time.Millisecond

// Reach is bridge.Points'.
func (n *Node) Reach(ctx context.Context, points []bridge.Point) bool {
	for {
		if !n.lacks(points) {
			return true
		}
		if pause(ctx, reachEvery); ctx.Err() != nil {
			return false
		}
	}
}

// lacks reports whether something before the points is still to be delivered here.
func (n *Node) lacks(points []bridge.Point) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, want := range points {
		o := n.origins[want.Slot]
		if o == nil || o.silent() || o.ended.Load() {
			continue
		}
		if has, ok := o.progress.point(o.slot, &o.progress.done); ok && has.Run == want.Run && has.Before < want.Before {
			return true
		}
	}
	return false
}

// meetsFor is how long after a start the first frames of others may take.
const meetsFor = 300 * time.Millisecond

// Meet is bridge.Points'.
func (n *Node) Meet(ctx context.Context) bool {
	for !n.met() {
		if pause(ctx, reachEvery); ctx.Err() != nil {
			return false
		}
	}
	return true
}

func (n *Node) met() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.life == nil || time.Since(n.begun) < meetsFor {
		return n.life == nil && !n.begun.IsZero() // it has ended
	}
	for _, o := range n.origins {
		if !o.silent() && !o.ended.Load() && !o.synced.Load() {
			return false
		}
	}
	return true
}

// Ask is bridge.Points'.
func (n *Node) Ask(ctx context.Context, to bridge.Slot, question []byte, patience time.Duration) ([]byte, error) {
	return n.transport.Ask(ctx, to, question, patience)
}

// AnswerBus answers another gateway's bus, which may take some seconds.
func (n *Node) AnswerBus(question []byte) []byte { return n.hub.Peers().Answer(question) }
