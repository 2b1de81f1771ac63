package bridge

import (
	"context"
	"time"
)

// sweepStep is how many senders or channels are looked at while the lock is held
// once: some microseconds each at most. sweepPause lets others in between.
const (
	sweepStep  = 256
	sweepPause = time.Millisecond
)

// sweep forgets what has not been seen for too long, and writes when the others
// were, a few at a time. Whoever is connected counts as seen.
func (h *Hub) sweep(ctx context.Context) {
	h.mu.RLock()
	at := len(h.kept)
	h.mu.RUnlock()
	for at > 0 && !over(ctx) { // from the end: what is forgotten is replaced by one that was looked at
		at = h.sweepSenders(at)
	}
	h.sweepChannels(ctx)
}

// over waits a moment, and reports whether ctx has ended.
func over(ctx context.Context) bool {
	t := time.NewTimer(sweepPause)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return true
	case <-t.C:
		return false
	}
}

// sweepSenders looks at the senders before a place, and returns where to go on.
func (h *Hub) sweepSenders(at int) int {
	now := h.now()
	var ended []*Attachment
	h.mu.Lock()
	at = min(at, len(h.kept))
	for n := 0; at > 0 && n < sweepStep; n++ {
		at--
		s := h.kept[at]
		if h.liveLocked(s) {
			s.seen.Store(now.Unix())
		}
		keep := h.opts.ExpireAfter
		if s.Name() == "" {
			keep = h.opts.ExpireUnnamedAfter
		}
		switch seen := s.seen.Load(); {
		case now.Sub(time.Unix(seen, 0)) > keep:
			ended = append(ended, h.forgetLocked(s)...)
		case seen != s.saved:
			h.saveLocked(s)
		}
	}
	h.mu.Unlock()
	endAll(ended)
	return at
}

// sweepChannels forgets channels without members that were not used lately.
func (h *Hub) sweepChannels(ctx context.Context) {
	now := h.now()
	h.mu.Lock()
	defer h.mu.Unlock()
	n := 0
	for c, ch := range h.channels { // a map may change while it is ranged over, between two steps
		if !h.listedLocked(ch, now) {
			delete(h.channels, c)
		}
		if n++; n%sweepStep == 0 {
			h.mu.Unlock()
			ended := over(ctx)
			h.mu.Lock()
			if ended {
				return
			}
		}
	}
}
