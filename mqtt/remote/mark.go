package remote

import (
	"net"
	"sync"
	"time"

	"watchtower/bridge/outbound"
)

// mark is how many bytes have to come until a connection's reader is woken. A broker writes each
// acknowledgement by itself, and to be woken for each costs more than all else at QoS 1. So
// while many are due, some have to come first.
//
// What the broker says meanwhile is hardly late: a message is longer than the mark, an end of the
// connection wakes the reader at once, and acknowledgements that are slower than markFor count as
// none.
type mark struct {
	conn  net.Conn
	timer *time.Timer // takes the mark back; nil: there are no marks on this connection

	mu    sync.Mutex
	bytes int
}

// markMost is for how many bytes a reader waits at most: ten acknowledgements.
const markMost = 10 * ackBytes

// markFor is how long a mark may keep bytes from the reader.
const markFor = 10 * time.Millisecond

// newMark returns the mark of a connection. One of TLS has none: what is counted are the
// bytes on the wire.
func newMark(c net.Conn) *mark {
	m := &mark{conn: c, bytes: 1}
	if _, plain := c.(*net.TCPConn); plain && canMark {
		m.timer = time.AfterFunc(time.Hour, func() { m.set(1) })
		m.timer.Stop()
	}
	return m
}

// wait is called before the reader waits for its next packet, with how many bytes of acknowledgements
// have to come until there is something to do.
func (m *mark) wait(bytes int) {
	if m.timer == nil {
		return
	}
	if bytes > ackBytes+2 {
		m.timer.Reset(markFor)
		m.set(min(bytes, markMost))
	} else {
		m.set(1)
	}
}

func (m *mark) set(bytes int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.bytes != bytes {
		m.bytes = bytes
		outbound.Control(m.conn, func(fd uintptr) { setMark(fd, bytes) })
	}
}

// end ends the timer.
func (m *mark) end() {
	if m.timer != nil {
		m.timer.Stop()
	}
}
