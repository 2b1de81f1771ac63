package eventloop

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"watchtower/bridge/outbound"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func begin(t *testing.T) *Loops {
	ls, err := Start()
	require.NoError(t, err)
	t.Cleanup(ls.Close)
	return ls
}

// pair returns the two ends of a TCP connection.
func pair(t *testing.T) (near, far *net.TCPConn) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	far = c.(*net.TCPConn)
	s, err := l.Accept()
	require.NoError(t, err)
	near = s.(*net.TCPConn)
	t.Cleanup(func() { near.Close(); far.Close() })
	return near, far
}

// lines takes whole lines without an x, and parks again after each Resume with a rest.
type lines struct {
	sock    *Socket
	mu      sync.Mutex
	got     bytes.Buffer
	resumed chan error // the end
}

func (h *lines) add(b []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.got.Write(b)
}

func (h *lines) Take(b []byte, _ *outbound.Round) int {
	end := bytes.LastIndexByte(b, '\n') + 1
	if x := bytes.IndexByte(b[:end], 'x'); x >= 0 {
		end = bytes.LastIndexByte(b[:x], '\n') + 1
	}
	h.add(b[:end])
	return end
}

func (h *lines) Resume(rest []byte, err error) {
	h.add(rest)
	h.sock.Unkick()
	if len(rest) == 0 || err != nil || !h.sock.Park() {
		h.resumed <- err
	}
}

func newLines(t *testing.T, ls *Loops, nc net.Conn) *lines {
	h := &lines{resumed: make(chan error, 1)}
	h.sock = ls.Socket(nc, h)
	require.NotNil(t, h.sock)
	require.True(t, h.sock.Park())
	return h
}

func TestWhatComesIsTakenOrLeftInItsOrder(t *testing.T) {
	ls := begin(t)
	var all sync.WaitGroup
	for i := range 40 {
		near, far := pair(t)
		h := newLines(t, ls, near)
		all.Go(func() {
			var want bytes.Buffer
			for n := range 500 {
				line := fmt.Sprintf("%d of %d\n", n, i)
				if n%7 == i%7 {
					line = fmt.Sprintf("x%d\n", n) // not plain
				}
				want.WriteString(line)
				half := n % len(line) // in two pieces
				_, _ = io.WriteString(far, line[:half])
				_, _ = io.WriteString(far, line[half:])
			}
			far.Close()
			assert.ErrorIs(t, <-h.resumed, io.EOF)
			assert.Equal(t, want.String(), h.got.String())
		})
	}
	all.Wait()
}

// busy waits in Take until its function returns.
type busy func()

func (h busy) Take(b []byte, _ *outbound.Round) int { h(); return len(b) }
func (busy) Resume([]byte, error)                   {}

func TestAnotherLoopHelpsWhileManyAreReady(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(2))
	ls := begin(t)
	first, far := pair(t)
	begun, ready := make(chan struct{}), make(chan struct{})
	require.True(t, ls.Socket(first, busy(func() { close(begun); <-ready })).Park())
	_, err := io.WriteString(far, "x")
	require.NoError(t, err)
	<-begun // the first loop has it

	var both sync.WaitGroup
	both.Add(2)
	var turn atomic.Int32
	met := make(chan struct{})
	for range 2 * helpFrom {
		near, far := pair(t)
		require.True(t, ls.Socket(near, busy(func() {
			if turn.Add(1) <= 2 { // the first two, in two loops, or it never ends
				both.Done()
				select {
				case <-met:
				case <-t.Context().Done():
				}
			}
		})).Park())
		_, err := io.WriteString(far, "x")
		require.NoError(t, err)
	}
	close(ready)
	go func() { both.Wait(); close(met) }()
	select {
	case <-met:
	case <-time.After(10 * time.Second):
		t.Fatal("no other loop helps")
	}
	require.Eventually(t, func() bool { return turn.Load() == 2*helpFrom }, 10*time.Second, time.Millisecond)
}

func TestAKickEndsTheWaiting(t *testing.T) {
	ls := begin(t)
	near, far := pair(t)
	h := newLines(t, ls, near)
	assert.True(t, h.sock.Parked())
	h.sock.Kick()
	require.NoError(t, <-h.resumed)
	assert.False(t, h.sock.Parked())

	h.sock.Kick()
	assert.False(t, h.sock.Park(), "it was kicked before")
	h.sock.Unkick()
	require.True(t, h.sock.Park())
	_, err := io.WriteString(far, "again\n")
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return h.got.String() == "again\n"
	}, 10*time.Second, time.Millisecond)

	require.NoError(t, near.Close())
	h.sock.Kick()
	<-h.resumed
	h.sock.Unkick()
	assert.False(t, h.sock.Park(), "it is closed")
}

// What is parked at the end goes on by itself.
func TestTheEndResumesWhatIsParked(t *testing.T) {
	ls := begin(t)
	near, far := pair(t)
	h := newLines(t, ls, near)
	ls.Close()
	require.NoError(t, <-h.resumed)
	assert.False(t, h.sock.Parked())
	h.sock.Unkick()
	assert.False(t, h.sock.Park(), "nobody would read")
	_, err := io.WriteString(far, "more")
	require.NoError(t, err)
	b := make([]byte, 4)
	_, err = io.ReadFull(near, b)
	require.NoError(t, err)
	assert.Equal(t, "more", string(b))
}

func TestKicksAndBytesAtOnce(t *testing.T) {
	ls := begin(t)
	near, far := pair(t)
	h := newLines(t, ls, near)
	var all sync.WaitGroup
	for range 2 {
		all.Go(func() {
			for range 500 {
				h.sock.Kick()
			}
		})
	}
	all.Go(func() {
		for range 500 {
			_, _ = io.WriteString(far, "x\n")
		}
		far.Close()
	})
	for err := range h.resumed {
		if err != nil {
			assert.ErrorIs(t, err, io.EOF)
			break
		}
		for h.sock.Unkick(); !h.sock.Park(); h.sock.Unkick() { // kicked again
		}
	}
	all.Wait()
	assert.Equal(t, 1000, h.got.Len())
}

func TestNothingElseCanBeParked(t *testing.T) {
	ls := begin(t)
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	assert.Nil(t, ls.Socket(a, nil))
	var none *Loops
	near, _ := pair(t)
	assert.Nil(t, none.Socket(near, nil))
	var s *Socket
	s.Kick()
	s.Unkick()
	assert.False(t, s.Park())
	assert.False(t, s.Parked())
	none.Close()
}
