package main

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// handHold is how long a valve stays open after a command without seconds, as Home Assistant's.
const handHold = 10 * time.Minute

// mostHold is the most that a command can ask for.
const mostHold = time.Hour

// tap is a valve and the soil below it. It has no clock: each call is told the time.
type tap struct {
	open  bool
	until time.Time // when it closes by itself
	hold  time.Duration

	soil float64 // moisture in per cent
	at   time.Time
}

// told follows a command, and reports whether it was one.
func (t *tap) told(text string, now time.Time) bool {
	argument, ok := strings.CutPrefix(text, "tap ")
	if !ok {
		return false
	}
	word, seconds, limited := strings.Cut(argument, " ")
	hold := handHold
	if limited {
		n, err := strconv.ParseUint(seconds, 10, 32)
		if err != nil || n == 0 || n > uint64(mostHold/time.Second) {
			return false
		}
		hold = time.Duration(n) * time.Second
	}
	switch {
	case word == "open":
		t.pass(now)
		t.open, t.hold, t.until = true, hold, now.Add(hold)
	case argument == "close":
		t.pass(now)
		t.open = false
	default:
		return false
	}
	return true
}

// expired closes a valve that has heard nothing for too long, and reports whether it did.
func (t *tap) expired(now time.Time) bool {
	if !t.open || now.Before(t.until) {
		return false
	}
	t.pass(now)
	t.open = false
	return true
}

// pass lets the soil get wet, by five per cent a second, or dry.
func (t *tap) pass(now time.Time) {
	rate := -0.05
	if t.open {
		rate = 5
	}
	if !t.at.IsZero() {
		t.soil = min(100, max(0, t.soil+rate*now.Sub(t.at).Seconds()))
	}
	t.at = now
}

// percentage is the soil's, rounded.
func (t *tap) percentage() int { return int(math.Round(t.soil)) }

// word is the tap's state as Home Assistant knows it.
func (t *tap) word() string {
	if t.open {
		return "open"
	}
	return "closed"
}
