package mqtt

import (
	"sync"
	"time"
)

// throttle lets an event through once in a while, by key. It remembers a
// bounded number of keys.
type throttle struct {
	every time.Duration
	mu    sync.Mutex
	last  map[string]time.Time
}

const throttleKeys = 1024

func newThrottle(every time.Duration) *throttle {
	return &throttle{every: every, last: map[string]time.Time{}}
}

// quiet reports whether the key has been quiet for long enough, and notes that
// it no longer is.
func (t *throttle) quiet(key string, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if last, ok := t.last[key]; ok && now.Sub(last) < t.every {
		return false
	}
	if len(t.last) >= throttleKeys {
		for k, last := range t.last {
			if now.Sub(last) >= t.every {
				delete(t.last, k)
			}
		}
		if len(t.last) >= throttleKeys {
			return false
		}
	}
	t.last[key] = now
	return true
}
