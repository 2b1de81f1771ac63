package bench

import (
	"math/bits"
	"time"
)

// A histogram counts durations in buckets that are 3 % wide. Its shape is that
// of HdrHistogram; a library would bring more than these lines, and its counters
// of eight bytes would be too large for thousands of receivers.
type histogram struct {
	counts []uint32 // nil until the first duration is recorded
	max    int64    // nanoseconds
}

// Each power of two has 32 buckets, from 1,024 ns on; below it everything
// counts by 32 ns. The last begins at some 4,700 s.
const (
	subBits   = 5
	unitShift = 5
	buckets   = (37 + 1) << subBits
)

func bucket(ns int64) int {
	v := uint64(max(ns, 0)) >> unitShift
	if v < 1<<subBits {
		return int(v)
	}
	shift := bits.Len64(v) - subBits - 1
	return min(shift<<subBits+int(v>>shift), buckets-1)
}

// upper is the longest duration of a bucket in nanoseconds.
func upper(i int) int64 {
	if i < 1<<subBits {
		return int64(i+1)<<unitShift - 1
	}
	shift := i>>subBits - 1
	return (int64(i-shift<<subBits)+1)<<(shift+unitShift) - 1
}

func (h *histogram) record(ns int64) {
	if h.counts == nil {
		h.counts = make([]uint32, buckets)
	}
	h.counts[bucket(ns)]++
	h.max = max(h.max, ns)
}

// add adds another's counts.
func (h *histogram) add(o *histogram) {
	if o.counts == nil {
		return
	}
	if h.counts == nil {
		h.counts = make([]uint32, buckets)
	}
	for i, n := range o.counts {
		h.counts[i] += n
	}
	h.max = max(h.max, o.max)
}

// quantile returns the duration that a part q of all durations does not exceed.
func (h *histogram) quantile(q float64) time.Duration {
	var total, seen uint64
	for _, n := range h.counts {
		total += uint64(n)
	}
	want := uint64(q*float64(total) + 0.5)
	for i, n := range h.counts {
		if seen += uint64(n); seen >= max(want, 1) {
			return time.Duration(min(upper(i), h.max))
		}
	}
	return time.Duration(h.max)
}
