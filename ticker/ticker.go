// Package ticker has tickers that fire together: at whole multiples of their periods by the
// clock. A program at rest is woken once for all that it does once a second, and not once
// for each, which costs a processor more than the work itself.
package ticker

import "time"

// Ticker is like time.Ticker, but in phase with all others. Whoever receives from C calls
// Next, else it does not fire again.
type Ticker struct {
	C     <-chan time.Time
	timer *time.Timer
	every time.Duration
}

// New returns a ticker whose period is every, which is more than 0. It first fires after a
// period at most.
func New(every time.Duration) *Ticker {
	t := time.NewTimer(left(time.Now(), every))
	return &Ticker{C: t.C, timer: t, every: every}
}

// Next lets the ticker fire at its next time. Times that passed meanwhile are left out.
func (t *Ticker) Next() { t.timer.Reset(until(time.Now(), t.every)) }

// NextAt is Next with another period, which is more than 0, from now on.
func (t *Ticker) NextAt(every time.Duration) {
	t.every = every
	t.Next()
}

// Stop ends the ticker. C is not closed.
func (t *Ticker) Stop() { t.timer.Stop() }

// left returns the time from now to the next multiple of every.
func left(now time.Time, every time.Duration) time.Duration {
	return every - time.Duration(now.UnixNano())%every
}

// until is left, but at least half a period. So a clock that was moved back a little does
// not let a ticker fire twice.
func until(now time.Time, every time.Duration) time.Duration {
	d := left(now, every)
	if d < every/2 {
		d += every
	}
	return d
}
