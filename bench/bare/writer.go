package bare

import (
	"net"
	"sync"
)

// most is the most bytes that wait for a connection; messages beyond it are dropped. The
// generator's window is too small to reach it for a receiver that reads.
const most = 1 << 20

// writer writes all that waits for a connection in one call.
type writer struct {
	conn    net.Conn
	mu      sync.Mutex
	waiting []byte
	closed  bool
	wake    chan struct{}
}

func newWriter(c net.Conn) *writer { return &writer{conn: c, wake: make(chan struct{}, 1)} }

func (w *writer) queue(b []byte) {
	w.mu.Lock()
	was := len(w.waiting)
	if !w.closed && was+len(b) <= most {
		w.waiting = append(w.waiting, b...)
	}
	w.mu.Unlock()
	if was == 0 {
		w.signal()
	}
}

func (w *writer) signal() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// close lets run return.
func (w *writer) close() {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.signal()
}

// run writes until close, or until the connection breaks.
func (w *writer) run() {
	var b []byte
	for range w.wake {
		w.mu.Lock()
		b, w.waiting = w.waiting, b[:0]
		closed := w.closed
		w.mu.Unlock()
		if len(b) > 0 {
			if _, err := w.conn.Write(b); err != nil {
				return
			}
		}
		if closed {
			return
		}
	}
}
