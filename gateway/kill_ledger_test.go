//go:build !race

package gateway_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// promised is how old an acknowledged message may be and still get lost: a second, plus the
// time by which the machine itself was late.
const promised = time.Second

// ledger is what was acknowledged to publishers, and when the program was
// killed. It is kept outside the program.
type ledger struct {
	mu    sync.Mutex
	acked map[string][]time.Time // by publisher; message n is at n
	kills []kill
	late  time.Duration // by how much the machine was, at most, since the last kill
}

// kill is when the program was killed, and when the next one answered. What is
// noted between was on its way when it was killed.
type kill struct {
	at, answered time.Time
	late         time.Duration
}

func (l *ledger) note(publisher string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.acked[publisher] = append(l.acked[publisher], time.Now())
}

func (l *ledger) killed() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.kills = append(l.kills, kill{at: time.Now(), late: l.late})
	l.late = 0
}

// probe looks from time to time how late the machine is: how long it takes to wait for a
// moment and to write a page to the disk, beyond what that takes on one that has time.
func (s *siege) probe() {
	f, err := os.Create(filepath.Join(s.t.TempDir(), "probe"))
	require.NoError(s.t, err)
	page := make([]byte, 4096)
	s.running.Go(func() {
		defer f.Close()
		for !s.over.Load() {
			start := time.Now()
			time.Sleep(20 * time.Millisecond)
			_, err := f.WriteAt(page, 0)
			if err != nil || f.Sync() != nil {
				s.t.Errorf("the probe cannot write: %v", err)
				return
			}
			s.ledger.mu.Lock()
			late := time.Since(start) - 100*time.Millisecond
			s.ledger.late = max(s.ledger.late, late)
			if n := len(s.ledger.kills); n > 0 && start.Before(s.ledger.kills[n-1].at) {
				s.ledger.kills[n-1].late = max(s.ledger.kills[n-1].late, late)
			}
			s.ledger.mu.Unlock()
		}
	})
}

func (l *ledger) answered() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.kills[len(l.kills)-1].answered = time.Now()
}

// excused reports whether the program was killed within the promise after that time.
func (l *ledger) excused(acked time.Time) bool {
	return slices.ContainsFunc(l.kills, func(k kill) bool { return k.at.Sub(acked) < promised+k.late && k.answered.After(acked) })
}

// receiver is a persistent session, and the messages that it got.
type receiver struct {
	name string
	mu   sync.Mutex
	seen map[string]map[int]bool
	last map[string]int
	back int // first deliveries that came after a later one
}

func (s *siege) receiver(name string) *receiver {
	r := &receiver{name: name, seen: map[string]map[int]bool{}, last: map[string]int{}}
	s.receivers = append(s.receivers, r)
	return r
}

// got notes message n of the publisher that the topic names.
func (r *receiver) got(topic, payload string) {
	publisher := topic[strings.LastIndexByte(topic, '/')+1:]
	n, err := strconv.Atoi(payload)
	if err != nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.seen[publisher] == nil {
		r.seen[publisher] = map[int]bool{}
		r.last[publisher] = -1
	}
	if r.seen[publisher][n] {
		return // again, as at QoS 1 it may
	}
	r.seen[publisher][n] = true
	if n < r.last[publisher] {
		r.back++
	}
	r.last[publisher] = max(r.last[publisher], n)
}

// count is how many messages came.
func (r *receiver) count() (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, seen := range r.seen {
		n += len(seen)
	}
	return n
}

func (r *receiver) returned() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.back
}

// verify waits for what is still on its way, and compares what arrived with
// what was acknowledged.
func (s *siege) verify() {
	s.ledger.mu.Lock()
	defer s.ledger.mu.Unlock()
	for _, r := range s.receivers {
		lost, got := s.missing(r), 0
		for deadline := time.Now().Add(2 * patient); len(lost) > 0 && time.Now().Before(deadline); lost = s.missing(r) {
			time.Sleep(50 * time.Millisecond)
			if n := r.count(); n > got { // hundreds of thousands take their time
				got, deadline = n, time.Now().Add(2*patient)
			}
		}
		assert.Empty(s.t, lost, "%s did not get what was older than %s at each kill", r.name, promised)
		assert.Zero(s.t, r.returned(), "%s got messages out of order", r.name)
	}
	total := 0
	for publisher, acked := range s.ledger.acked {
		assert.Greater(s.t, len(acked), len(s.ledger.kills), "%s published too little to prove anything", publisher)
		total += len(acked)
	}
	late := time.Duration(0)
	for _, k := range s.ledger.kills {
		late = max(late, k.late)
	}
	s.t.Logf("%d messages acknowledged, %d kills; the machine was late by %s at most", total, len(s.ledger.kills), late)
	for _, r := range s.receivers {
		r.mu.Lock() // what is late may still come
		n := 0
		for publisher, acked := range s.ledger.acked {
			for i := range acked {
				if !r.seen[publisher][i] {
					n++
				}
			}
		}
		r.mu.Unlock()
		s.t.Logf("%s: %d lost of the last second before a kill", r.name, n)
	}
}

// missing lists messages that a receiver should have got but did not.
func (s *siege) missing(r *receiver) (lost []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for publisher, acked := range s.ledger.acked {
		for n, at := range acked {
			if !r.seen[publisher][n] && !s.ledger.excused(at) && len(lost) < 10 {
				lost = append(lost, fmt.Sprintf("%s %d, acknowledged %s", publisher, n, at))
			}
		}
	}
	return lost
}
