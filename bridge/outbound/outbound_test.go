package outbound

import (
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// sink records the writes it gets.
type sink struct {
	mu     sync.Mutex
	writes []string
}

func (s *sink) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writes = append(s.writes, string(b))
	return len(b), nil
}
func (s *sink) SetWriteDeadline(time.Time) error { return nil }

func (s *sink) seen() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.writes)
}

func TestWhatWaitsGoesOutInOneWrite(t *testing.T) {
	s, q := &sink{}, NewQueue(1000, 1<<20)
	w := NewWriter(q, Options{Timeout: time.Second, Crew: NewCrew()})
	for range 1000 {
		require.True(t, q.Put([]byte("0123456789")))
	}
	assert.False(t, q.Put([]byte("x")), "the queue is full")
	w.Close()
	require.NoError(t, w.Run(s))
	require.Len(t, s.writes, 1)
	assert.Equal(t, strings.Repeat("0123456789", 1000), s.writes[0])
}

func TestBatchesAreBounded(t *testing.T) {
	s, q := &sink{}, NewQueue(10, 1<<20)
	w := NewWriter(q, Options{Timeout: time.Second, Crew: NewCrew()})
	q.Put(make([]byte, 60<<10))
	q.Put(make([]byte, 60<<10))
	q.Put(make([]byte, 200<<10))
	w.Close()
	require.NoError(t, w.Run(s))
	require.Len(t, s.writes, 2)
	assert.Len(t, s.writes[0], 120<<10)
	assert.Len(t, s.writes[1], 200<<10)
}

func TestQueueIsBoundedInBytes(t *testing.T) {
	q := NewQueue(10, 100)
	assert.True(t, q.Put(make([]byte, 200)), "one frame always fits")
	assert.False(t, q.Put([]byte("x")))
	q.Fill(nil)
	assert.True(t, q.Put([]byte("x")))
	assert.Equal(t, 1, q.Close())
	assert.False(t, q.Put([]byte("x")))
	assert.Equal(t, 0, q.Close())
}

func TestQueueKeepsItsOrderUnderLoad(t *testing.T) {
	q := NewQueue(5000, 1<<20)
	var got []byte
	n := 0
	for round := range 200 {
		for range 1 + round%97 {
			q.Put([]byte{byte(n), byte(n >> 8)})
			n++
		}
		if round%3 == 0 {
			got = q.Fill(got)
		}
	}
	got = append(got, q.Fill(nil)...)
	require.Len(t, got, 2*n)
	for i := range n {
		require.Equal(t, i, int(got[2*i])|int(got[2*i+1])<<8)
	}
}

func TestHeartbeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, q := &sink{}, NewQueue(10, 100)
		w := NewWriter(q, Options{Timeout: time.Second, Crew: NewCrew(), Heartbeat: []byte("\n"), Every: 15 * time.Second})
		done := make(chan error)
		go func() { done <- w.Run(s) }()
		synctest.Wait()
		assert.Equal(t, []string{"\n"}, s.seen(), "one at once")
		time.Sleep(16 * time.Second)
		assert.Equal(t, []string{"\n", "\n"}, s.seen())
		q.Put([]byte("m"))
		w.Wake()
		time.Sleep(15*time.Second - time.Millisecond)
		assert.Equal(t, []string{"\n", "\n", "m"}, s.seen(), "15 s after what was said, and no sooner")
		time.Sleep(time.Millisecond)
		synctest.Wait()
		assert.Equal(t, []string{"\n", "\n", "m", "\n"}, s.seen())
		w.Close()
		assert.NoError(t, <-done)
	})
}

func TestAReceiverThatDoesNotReadEnds(t *testing.T) {
	a, b := net.Pipe()
	defer b.Close()
	defer a.Close()
	q := NewQueue(10, 1<<20)
	q.Put(make([]byte, 1000))
	w := NewWriter(q, Options{Timeout: 20 * time.Millisecond, Crew: NewCrew()})
	assert.ErrorContains(t, w.Run(a), "timeout")
}

func BenchmarkQueue(b *testing.B) {
	q := NewQueue(1024, 1<<20)
	frame := make([]byte, 64)
	buf := make([]byte, 0, batchBytes)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		q.Put(frame)
		if i%64 == 63 {
			buf = q.Fill(buf[:0])
		}
	}
}
