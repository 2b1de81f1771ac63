package tcp

import "time"

const (
	// A peer that closed its sending half may still read what was accepted before.
	// hearOut waits hearFor for that at most, and looks every hearEvery.
	hearFor   = 10 * time.Second
	hearEvery = 5 * time.Millisecond
)

// hearOut waits until the messages are queued that were on their way when the peer closed
// its sending half. It does so even if the peer closed the other half too: that shows
// only when something is written.
func (c *conn) hearOut(written <-chan struct{}) {
	if !c.registered() {
		return
	}
	passed := c.server.link.Passed()
	late := time.NewTimer(hearFor)
	defer late.Stop()
	look := time.NewTicker(hearEvery)
	defer look.Stop()
	for !passed() {
		select {
		case <-look.C:
		case <-late.C:
			return
		case <-written:
			return
		}
	}
}
