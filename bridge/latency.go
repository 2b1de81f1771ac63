package bridge

import (
	"sync/atomic"
	"time"
)

// LatencyBounds are the upper bounds of the buckets in which Counters counts how long
// messages took through the bus.
var LatencyBounds = [...]time.Duration{
	50 * time.Microsecond, 100 * time.Microsecond, 250 * time.Microsecond, 500 * time.Microsecond,
	time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond,
	50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond,
	time.Second, 2500 * time.Millisecond, 5 * time.Second,
}

// latency counts times by bucket. The last bucket has what is over all bounds.
type latency struct {
	buckets [len(LatencyBounds) + 1]atomic.Uint64
	sum     atomic.Int64 // nanoseconds
}

func (l *latency) observe(d time.Duration) {
	d = max(d, 0)
	i := 0
	for i < len(LatencyBounds) && d > LatencyBounds[i] {
		i++
	}
	l.buckets[i].Add(1)
	l.sum.Add(int64(d))
}

// Latency returns the times that messages took from their arrival at the gateway to the
// queues of a protocol's members: the number of times, their sum, and how many were at
// most each of LatencyBounds.
func (c *Counters) Latency(p Protocol) (n uint64, sum time.Duration, atMost [len(LatencyBounds)]uint64) {
	l := &c.latency[p]
	for i := range l.buckets {
		n += l.buckets[i].Load()
		if i < len(atMost) {
			atMost[i] = n
		}
	}
	return n, time.Duration(l.sum.Load()), atMost
}
