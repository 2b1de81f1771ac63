package mqtt

import (
	"sync"
	"time"
)

// throttle lets an event through once in a while, by who causes it and what it is.
// Nobody causes more than a few, so that nobody fills it for the others.
type throttle struct {
	every time.Duration
	mu    sync.Mutex
	last  map[event]time.Time
	swept time.Time      // when what is long ago was forgotten
	of    map[string]int // how many events in last are whose
}

type event struct{ who, what string }

// The bounds of what a throttle remembers, and so of what is let through.
const (
	throttleEvents = 4096
	throttleOfOne  = 16
)

func newThrottle(every time.Duration) *throttle {
	return &throttle{every: every, last: map[event]time.Time{}, of: map[string]int{}}
}

// allow reports whether the event is to be let through, and notes that it was.
func (t *throttle) allow(who, what string, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := event{who, what}
	if last, ok := t.last[e]; ok && now.Sub(last) < t.every {
		return false
	} else if ok {
		t.last[e] = now
		return true
	}
	if t.fullLocked(who) {
		t.forgetLocked(now)
		if t.fullLocked(who) {
			return false
		}
	}
	t.last[e] = now
	t.of[who]++
	return true
}

func (t *throttle) fullLocked(who string) bool {
	return len(t.last) >= throttleEvents || t.of[who] >= throttleOfOne
}

// forgetLocked forgets what is long ago, once in a while.
func (t *throttle) forgetLocked(now time.Time) {
	if now.Sub(t.swept) < t.every/60 {
		return
	}
	t.swept = now
	for e, last := range t.last {
		if now.Sub(last) < t.every {
			continue
		}
		delete(t.last, e)
		if t.of[e.who]--; t.of[e.who] == 0 {
			delete(t.of, e.who)
		}
	}
}
