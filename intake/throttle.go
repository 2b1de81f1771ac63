package intake

import (
	"sync"
	"time"
)

// Throttle allows each event of each originator once in a period. It remembers a few
// events for one originator only, so that one cannot use it up for the others.
type Throttle struct {
	every time.Duration
	mu    sync.Mutex
	last  map[event]time.Time
	swept time.Time      // when old events were last removed
	of    map[string]int // number of events in last, by originator
}

type event struct{ who, what string }

// The bounds on the events that a Throttle remembers: all, and of one originator.
const (
	throttleEvents = 4096
	throttleOfOne  = 16
)

// NewThrottle returns a throttle that allows an event once in a period.
func NewThrottle(every time.Duration) *Throttle {
	return &Throttle{every: every, last: map[event]time.Time{}, of: map[string]int{}}
}

// Allow reports whether the event may happen now, and notes it.
func (t *Throttle) Allow(who, what string, now time.Time) bool {
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

func (t *Throttle) fullLocked(who string) bool {
	return len(t.last) >= throttleEvents || t.of[who] >= throttleOfOne
}

// forgetLocked removes old events, at most 60 times in a period.
func (t *Throttle) forgetLocked(now time.Time) {
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
