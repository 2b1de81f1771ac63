package mqtt

import (
	"runtime"
	"sync/atomic"
)

// budget bounds what the queues of all sessions hold together. A message's body
// counts once, however many sessions it waits for, with the encodings that were
// made of it; each entry of a queue counts too.
//
// Counting bodies truly costs two atomic steps on a line of memory that all
// cores want, so who keeps up does not do it: a connected session borrows some
// bytes, and what waits for it within those counts in full, for it alone, and
// needs no step at all. What goes beyond is held: counted by its body.
type budget struct {
	limit    int64
	used     atomic.Int64 // held, and lent
	sessions atomic.Int64
}

const (
	entryBytes = 72       // of a delivery in a queue, and in the keeper's list of rows
	loanBytes  = 8 << 10  // lent at a time
	loanMost   = 64 << 10 // lent to one session
	smallBytes = 4 << 10  // of a message that every session gets that has nothing waiting
)

// reserve is what only those may use who use less than their share of it.
func (b *budget) reserve() int64 { return b.limit / 4 }

// wills bounds what the wills of all clients hold together: a quarter of what
// their queues may. A will is handed from a connection to its session and to
// whoever sends it, so it counts until the collector has taken it back.
type wills struct {
	limit int64
	held  atomic.Int64
}

// willBytes is what a will takes besides its texts.
const willBytes = 512

// charge counts a will. It reports false if there is no room for it.
func (w *wills) charge(will *message) bool {
	size := int64(willBytes + will.weight())
	if w.held.Add(size) > w.limit {
		w.held.Add(-size)
		return false
	}
	runtime.AddCleanup(will, func(size int64) { w.held.Add(-size) }, size)
	return true
}
