package outbound

import "sync/atomic"

// Latch tells those who wait that something has ended, like a channel that is closed. It has a
// channel only once somebody waits, which for most connections nobody ever does: a channel takes
// 96 bytes. The zero Latch is open.
type Latch struct{ done atomic.Pointer[chan struct{}] }

var closed = func() *chan struct{} {
	c := make(chan struct{})
	close(c)
	return &c
}()

// Close lets all go on who wait now or later. It may be called once more.
func (l *Latch) Close() {
	if waiting := l.done.Swap(closed); waiting != nil && waiting != closed {
		close(*waiting)
	}
}

// Done is closed when Close has been called.
func (l *Latch) Done() <-chan struct{} {
	for {
		if c := l.done.Load(); c != nil {
			return *c
		}
		c := make(chan struct{})
		l.done.CompareAndSwap(nil, &c)
	}
}
