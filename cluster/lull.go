package cluster

import "time"

// Each frame costs every gateway and the transport a write or a read, whatever is in it. So a message
// for which nobody waits at another gateway is sent with those that follow: others only keep it, for
// those who come later. That is worth it only where the next one is soon there.
const (
	lullMost = 20 * time.Millisecond // after which a message has the others sent that wait; alone one waits twice as long
	lullGap  = 2 * time.Millisecond  // between two messages: from which on none waits
	lullFull = 32 << 10              // bytes that do not wait
)

// lull is the time for which messages wait for others. Guarded by stream.mu.
type lull struct {
	last  time.Time // when a message was said
	since time.Time // when the first of those that wait was; zero: none waits
	timed time.Time // of since, when the timer was set; zero: it is not
	timer *time.Timer
}

// over notes a message, and reports whether what waits is to be sent. Bytes are those that wait.
func (l *lull) over(awaited bool, now time.Time, bytes uint64) bool {
	gap := now.Sub(l.last)
	l.last = now
	if awaited || gap > lullGap || bytes >= lullFull {
		return true
	}
	if l.since.IsZero() {
		l.since = now
	}
	if l.timed.IsZero() {
		l.timed = l.since
		l.timer.Reset(lullMost)
	}
	return now.Sub(l.since) > lullMost
}

// end notes that nothing waits.
func (l *lull) end() { l.since = time.Time{} }

// lulled is the timer's. It reports whether what waits is to be sent.
func (s *stream) lulled() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := &s.lull
	if due := l.since.Equal(l.timed); due || l.since.IsZero() {
		l.timed = time.Time{}
		return due
	}
	l.timed = l.since // others wait than when it was set
	l.timer.Reset(lullMost)
	return false
}
