package mqtt

import (
	"bufio"
	"errors"
	"sync"
	"time"

	"watchtower/bridge/outbound"
)

// A connection that waits for its client is parked in an event loop, which executes what is
// plain (plain.go). The rest needs the connection's own goroutine, because it may wait: for
// the store, for another protocol, or for the rest of a large packet.

// errParked ends a read loop whose connection is parked. It goes on in Resume.
var errParked = errors.New("parked")

// readers are the read buffers of connections that can be parked.
var readers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, busyBufferBytes) }}

// park parks the connection if its client has sent nothing more, and returns true.
func (c *conn) park() bool {
	switch {
	case c.sock == nil, c.r.Buffered() > 0, len(c.rest) > 0, c.spent != nil, c.behind(), c.resumed && c.silent(time.Now()):
		return false
	}
	if c.nc.SetReadDeadline(time.Time{}) != nil { // the sweep looks for silent clients
		return false
	}
	r := c.r
	c.r, c.begun, c.late, c.filled = nil, false, 0, false
	c.heard.Store(time.Now().UnixNano())
	if !c.sock.Park() {
		c.r = r
		return false
	}
	r.Reset(nil)
	readers.Put(r)
	return true
}

// Take executes packets in an event loop (eventloop.Handler).
func (c *conn) Take(b []byte, r *outbound.Round) (used int) {
	now := time.Now()
	c.heard.Store(now.UnixNano())
	c.session.hold.Heard(now)
	return c.plain(b, r)
}

// Resume goes on with the read loop (eventloop.Handler).
func (c *conn) Resume(rest []byte, err error) {
	c.r = readers.Get().(*bufio.Reader)
	c.r.Reset(c)
	c.resumed = true
	if c.spent == nil {
		c.rest, c.spent = rest, err
	}
	c.run()
}

// run executes the client's packets until the connection is parked or ends.
func (c *conn) run() {
	if err := c.readLoop(); !errors.Is(err, errParked) {
		c.end(err)
	}
}
