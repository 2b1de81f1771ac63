package tcp

import (
	"io"
	"time"
)

const (
	// A connection that ends with a refusal is read from a little longer: to
	// close it on unread bytes would take the refusal away from the peer.
	lingerFor   = time.Second
	lingerBytes = 1 << 20
	// A peer that has said its last may still listen, for what was accepted until
	// then: for so long at most, and it is looked for so often.
	hearFor   = time.Second
	hearEvery = 5 * time.Millisecond
)

// hearOut waits until what was on its way when the peer closed its sending half is in
// the queue. It has the same meaning whether the peer has closed the other half too:
// nobody can tell before something is written.
func (c *conn) hearOut(written <-chan struct{}) {
	if !c.registered() {
		return
	}
	late := time.NewTimer(hearFor)
	defer late.Stop()
	look := time.NewTicker(hearEvery)
	defer look.Stop()
	for !c.server.link.Idle() {
		select {
		case <-look.C:
		case <-late.C:
			return
		case <-written:
			return
		}
	}
}

// linger reads on for a moment, so that the peer can read the refusal.
func (c *conn) linger() {
	if c.conn.CloseWrite() != nil || c.conn.SetReadDeadline(time.Now().Add(lingerFor)) != nil {
		return
	}
	_, _ = io.CopyN(io.Discard, c.conn, lingerBytes)
}
