package main

import (
	"context"
	"runtime"
	"runtime/debug"
	"sync"
	"time"
)

// calm gives back memory that is not needed any more: some time after the start, and after each load.
func calm(ctx context.Context, after time.Duration) {
	loads := watchLoads()
	defer loads.stop()
	started := time.After(after)
	for {
		select {
		case <-ctx.Done():
			return
		case <-started:
		case <-loads.over:
		}
		giveBack()
	}
}

// giveBack gives back what is garbage, and the program's code.
func giveBack() {
	debug.FreeOSMemory()
	dropCode()
}

// A load is so many collections of garbage, each within loadOver of the one before. It is over when none
// has come for so long. At a home's pace there is one in a minute, and so no load. To give memory back
// takes one more.
const (
	loadLeast = 3
	loadOver  = 2 * time.Second
)

// loads notices the end of loads. The garbage collector tells it of each collection, so it costs
// nothing while the gateway rests.
type loads struct {
	over chan struct{} // has room for one

	mu          sync.Mutex
	collections int
	last        *time.Timer // fires when the last collection is loadOver ago
	stopped     bool
}

// collected is garbage from one collection to the next.
type collected struct{ loads *loads }

func watchLoads() *loads {
	l := &loads{over: make(chan struct{}, 1)}
	l.last = time.AfterFunc(loadOver, l.end)
	runtime.SetFinalizer(&collected{l}, (*collected).note)
	return l
}

func (c *collected) note() {
	l := c.loads
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stopped {
		return
	}
	l.collections++
	l.last.Reset(loadOver)
	runtime.SetFinalizer(c, (*collected).note)
}

func (l *loads) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.collections >= loadLeast {
		select {
		case l.over <- struct{}{}:
		default:
		}
	}
	l.collections = 0
}

func (l *loads) stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stopped = true
	l.last.Stop()
}
