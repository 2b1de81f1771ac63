package mqtt

import (
	"runtime"
	"sync/atomic"
)

// budget bounds the memory of all sessions' queues together, in bytes. A message's body
// and its encodings count once, however many sessions queue it. Each queue entry counts too.
//
// Counting a body takes two atomic operations on memory that all cores share. To avoid
// them, a connected session borrows some bytes. Deliveries within its loan count in full,
// without an atomic operation. Deliveries beyond the loan are held: counted by their body.
type budget struct {
	limit    int64
	used     atomic.Int64 // bytes that are held or lent
	sessions atomic.Int64
}

const (
	entryBytes = 72       // a delivery in a queue and in the keeper's list of rows
	loanBytes  = 8 << 10  // the step in which bytes are lent
	loanMost   = 64 << 10 // lent to one session
	smallBytes = 4 << 10  // a message that a session with an empty queue always gets
)

// reserve is the part that only sessions below their share of it may use.
func (b *budget) reserve() int64 { return b.limit / 4 }

// wills bounds the memory of all wills: a quarter of the queues' limit. A will passes from
// its connection to its session and its sender, so it counts until it is garbage collected.
type wills struct {
	limit int64
	held  atomic.Int64
}

// willBytes is the memory of a will without its texts.
const willBytes = 512

// charge counts a will, and reports whether there is room for it.
func (w *wills) charge(will *message) bool {
	size := int64(willBytes + will.weight())
	if w.held.Add(size) > w.limit {
		w.held.Add(-size)
		return false
	}
	runtime.AddCleanup(will, func(size int64) { w.held.Add(-size) }, size)
	return true
}
