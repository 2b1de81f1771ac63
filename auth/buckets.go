package auth

import (
	"math"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// Limit bounds how often something may happen.
type Limit struct {
	Burst int           // how often at once: the size of a bucket in tokens
	Every time.Duration // time after which a bucket gets one token back
	Most  int           // the most buckets
}

// Limiter bounds how often each Who does something. Each has a bucket of tokens, and each
// time takes one. A missing bucket counts as full. Its methods may be called from any
// goroutine.
type Limiter[Who comparable] struct {
	limit Limit
	now   func() time.Time

	mu      sync.Mutex
	buckets map[Who]*rate.Limiter
	known   atomic.Int64 // how many buckets there are
}

// NewLimiter returns a limiter whose buckets are full. Now is its clock; nil: time.Now.
func NewLimiter[Who comparable](limit Limit, now func() time.Time) *Limiter[Who] {
	if now == nil {
		now = time.Now
	}
	return &Limiter[Who]{limit: limit, now: now, buckets: map[Who]*rate.Limiter{}}
}

// Quiet reports whether there is no bucket, so that all are full. It takes no lock.
func (l *Limiter[Who]) Quiet() bool { return l.known.Load() == 0 }

// Wait returns the time until there is a token; 0: there is one.
func (l *Limiter[Who]) Wait(who Who) time.Duration {
	if l.Quiet() {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.buckets[who]
	if b == nil {
		return 0
	}
	tokens := b.TokensAt(l.now())
	if tokens >= float64(l.limit.Burst) {
		delete(l.buckets, who) // full: the same as none
		l.known.Store(int64(len(l.buckets)))
	}
	if tokens >= 1 {
		return 0
	}
	return max(1, time.Duration((1-tokens)*float64(l.limit.Every)))
}

// Take takes a token. It reports false if there is none.
func (l *Limiter[Who]) Take(who Who) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.buckets[who]
	if b == nil {
		l.makeRoom()
		b = rate.NewLimiter(rate.Every(l.limit.Every), l.limit.Burst)
		l.buckets[who] = b
		l.known.Store(int64(len(l.buckets)))
	}
	return b.AllowN(l.now(), 1)
}

// Spent returns how many tokens are missing, rounded up.
func (l *Limiter[Who]) Spent(who Who) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.buckets[who]
	if b == nil {
		return 0
	}
	return int(math.Ceil(float64(l.limit.Burst) - b.TokensAt(l.now())))
}

// evictionSample is how many buckets are compared to choose one to forget.
const evictionSample = 64

// makeRoom forgets one bucket if there are too many: the fullest of a sample.
func (l *Limiter[Who]) makeRoom() {
	if len(l.buckets) < l.limit.Most {
		return
	}
	var best Who
	most, seen, now := -1.0, 0, l.now()
	for who, b := range l.buckets {
		if tokens := b.TokensAt(now); tokens > most {
			best, most = who, tokens
		}
		if seen++; seen == evictionSample {
			break
		}
	}
	delete(l.buckets, best)
}
