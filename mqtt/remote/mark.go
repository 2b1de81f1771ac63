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
	conn net.Conn
	due  func() int // how many acknowledgements have to come until there is something to do

	mu    sync.Mutex
	timer *time.Timer // takes the mark back; nil: there are no marks, or no more
	bytes int
}

// markMost is for how many bytes a reader waits at most: ten acknowledgements, or less if they are longer.
const markMost = 10 * ackBytes

// markFor is how long a mark may keep bytes from the reader.
const markFor = 10 * time.Millisecond

// newMark returns the mark of a connection. Due returns how many acknowledgements have to come until
// there is something to do; 0: none is due. A connection of TLS has no mark: what is counted are the
// bytes on the wire.
func newMark(c net.Conn, due func() int) *mark {
	m := &mark{conn: c, due: due, bytes: 1}
	if _, plain := c.(*net.TCPConn); plain && canMark {
		m.timer = time.AfterFunc(time.Hour, func() {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.setLocked(1)
		})
		m.timer.Stop()
	}
	return m
}

// follow sets the mark anew. It is called after each change of what is due. While none is due the mark
// is as it was: the next one is likely to be the same, and the timer takes it back.
func (m *mark) follow() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.timer == nil {
		return
	}
	switch due := m.due(); {
	case due > 1:
		m.timer.Reset(markFor)
		m.setLocked(min(due*ackBytes, markMost))
	case due == 1:
		m.setLocked(1)
	}
}

func (m *mark) setLocked(bytes int) {
	if m.bytes != bytes {
		m.bytes = bytes
		outbound.Control(m.conn, func(fd uintptr) { setMark(fd, bytes) })
	}
}

// marked is an outbox that sends on a connection with a mark.
type marked struct {
	*outbox
	mark *mark
}

// Fill is outbound.Source's.
func (m *marked) Fill(buf []byte) []byte {
	buf = m.outbox.Fill(buf)
	m.mark.follow()
	return buf
}

// end ends the timer.
func (m *mark) end() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.timer != nil {
		m.timer.Stop()
		m.timer = nil
	}
}
