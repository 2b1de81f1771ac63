package mqtt

import (
	"sync/atomic"
	"time"
)

// underWay counts the messages that are being handed out: each from before its route is looked up until
// it is in the queues here and has its number among those of this gateway. Whoever has to know
// what all queues hold waits until those of that moment are done.
//
// They count on one of two sides. Whoever waits has later ones count on the other side, so that the
// first side empties, however many come.
type underWay struct {
	side    atomic.Uint32
	on      [2]atomic.Int64
	waiting atomic.Bool
	emptied chan struct{} // has room for one
	turn    chan struct{} // has room for one: whoever waits
}

func newUnderWay() *underWay {
	return &underWay{emptied: make(chan struct{}, 1), turn: make(chan struct{}, 1)}
}

// begin counts a message, and returns the side for end. A nil counter counts nothing.
func (u *underWay) begin() (side uint32) {
	if u == nil {
		return 0
	}
	side = u.side.Load()
	u.on[side].Add(1)
	return side
}

func (u *underWay) end(side uint32) {
	if u != nil && u.on[side].Add(-1) == 0 && u.waiting.Load() {
		select {
		case u.emptied <- struct{}{}:
		default:
		}
	}
}

const settleMost = 300 * time.Millisecond

// settle waits until all that is being handed out now is done, but for settleMost at most: a publisher
// may wait for a slow protocol meanwhile.
func (u *underWay) settle() {
	late := time.NewTimer(settleMost)
	defer late.Stop()
	select {
	case u.turn <- struct{}{}:
		defer func() { <-u.turn }()
	case <-late.C:
		return
	}
	u.waiting.Store(true)
	defer u.waiting.Store(false)
	side := u.side.Load()
	if !u.empties(1-side, late.C) { // of one that had read the side before it changed last
		return
	}
	u.side.Store(1 - side)
	u.empties(side, late.C)
}

// empties waits until nothing counts on a side. It reports false if it is late before that.
func (u *underWay) empties(side uint32, late <-chan time.Time) bool {
	for u.on[side].Load() > 0 {
		select {
		case <-u.emptied:
		case <-late:
			return false
		}
	}
	return true
}
