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
	Burst int           // so often at once
	Every time.Duration // once more after each
	Most  int           // who is remembered, at most
}

// Limiter bounds how often something happens, by whom it is done: a bucket of
// tokens for each, one taken every time. Who has no bucket has a full one. Its
// methods may be called from any goroutine.
type Limiter[Who comparable] struct {
	limit Limit
	now   func() time.Time

	mu      sync.Mutex
	buckets map[Who]*rate.Limiter
	known   atomic.Int64 // how many buckets there are
}

// NewLimiter returns a limiter of full buckets. Now is its clock; nil: time.Now.
func NewLimiter[Who comparable](limit Limit, now func() time.Time) *Limiter[Who] {
	if now == nil {
		now = time.Now
	}
	return &Limiter[Who]{limit: limit, now: now, buckets: map[Who]*rate.Limiter{}}
}

// Quiet reports whether nobody has taken anything. It takes no lock.
func (l *Limiter[Who]) Quiet() bool { return l.known.Load() == 0 }

// Wait is how long until there is a token; 0: there is one.
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
		delete(l.buckets, who) // a full bucket says nothing
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

// Spent is how many tokens are missing, a part of one counted as one.
func (l *Limiter[Who]) Spent(who Who) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.buckets[who]
	if b == nil {
		return 0
	}
	return int(math.Ceil(float64(l.limit.Burst) - b.TokensAt(l.now())))
}

// evictionSample is how many are looked at to forget one.
const evictionSample = 64

// makeRoom forgets the one of a sample that has taken least.
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
