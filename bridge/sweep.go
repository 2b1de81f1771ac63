package bridge

import (
	"context"
	"time"
)

// sweepStep is how many senders or channels are checked while the lock is held once: some
// microseconds each at most. During sweepPause others get the lock.
const (
	sweepStep  = 256
	sweepPause = time.Millisecond
)

// sweep forgets senders that were not seen for too long, and saves when the others were
// seen, a few at a time. A connected sender counts as seen.
func (h *Hub) sweep(ctx context.Context) {
	h.mu.RLock()
	at := len(h.kept)
	h.mu.RUnlock()
	for at > 0 && !over(ctx) { // from the end: a forgotten sender's place gets one that was checked already
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

// sweepSenders checks some senders before the place at, and returns where to go on.
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
		case now.Sub(time.Unix(seen, 0)) > keep && len(s.holds) == 0:
			ended = append(ended, h.forgetLocked(s)...)
		case seen != s.saved:
			h.saveLocked(s)
		}
	}
	h.mu.Unlock()
	endAll(ended)
	return at
}

// sweepChannels forgets channels without members that had no message lately.
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
