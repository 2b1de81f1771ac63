package callback

import (
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/sirupsen/logrus"

	"watchtower/bridge"
)

// findRoomLocked reports whether a delivery may wait for an endpoint. If no byte is free,
// the sender that holds most loses its oldest delivery, provided that it holds more than
// this sender would hold then; within one sender the same rule applies to its endpoints.
// For an endpoint with an empty queue, holding more than this sender holds now is enough.
// Such endpoints, and receivers that took the last delivery, may also use the reserve.
func (c *Service) findRoomLocked(e *endpoint, d *delivery) bool {
	sh, n := e.share, d.size()
	more, aside := n, e.takes()
	if e.phase == idle && len(e.waiting) == 0 {
		more, aside = 0, true
	}
	for c.shares.bytes+n > c.opts.forAll() {
		v := c.shares.byBytes.members[0]
		w := v.endpoints.members[0]
		over := v.bytes > sh.bytes+more
		if v == sh {
			over = w != e && w.held() > e.held()+more
		}
		if !over || !c.letGoLocked(w) {
			return aside && c.shares.bytes+n <= c.opts.Bytes
		}
	}
	return true
}

// letGoLocked removes an endpoint's oldest delivery: a failed one, else a waiting one, else
// the current one, unless an attempt at it has just begun.
func (c *Service) letGoLocked(e *endpoint) bool {
	switch {
	case len(e.failed) > 0: // already counted as dropped
		e.takeOldestFailed()
		c.changedLocked(e)
		return true
	case len(e.waiting) > 0:
		oldest := e.waiting[0]
		e.discard(func(d *delivery) bool { return d == oldest })
		c.drop(e.key.sender, bridge.Limit, 1)
		c.changedLocked(e)
	case e.phase == posting && time.Since(e.attempt.began) < givesWayAfter || e.current == nil:
		return false
	case e.phase == posting:
		e.attempt.cutShort()
		c.drop(e.key.sender, bridge.Limit, 1)
		c.doneLocked(e) // ended goes on after the attempt
	default:
		c.dropCurrentLocked(e, bridge.Limit)
	}
	if now := time.Now(); now.Sub(c.warned) > time.Minute {
		c.warned = now
		c.log.WithFields(logrus.Fields{"sender": e.key.sender.ID(), "setting": "callbacks.bytes"}).Warn("too much waits for callbacks: whose sender holds most loses the oldest")
	}
	return true
}

// enqueue queues a delivery. If there is no room, it counts the drop and reports false.
func (c *Service) enqueue(to *receiver, d *delivery) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	d.to = to
	e := c.endpoints[to.key]
	if e == nil && c.reportsLocked(to.key.sender) < c.opts.SenderCallbacks {
		e = c.newEndpointLocked(to.key) // for a delivery report
	}
	if to.last != nil && d.mid != (ulid.ULID{}) {
		d.before, to.last[d.slot] = to.last[d.slot], d.mid
	}
	if why, ok := c.takesLocked(e, d); !ok {
		c.drop(to.key.sender, why, 1)
		if e != nil {
			c.forgetIdleLocked(e)
		}
		return false
	}
	e.push(d)
	c.workLocked(e)
	c.changedLocked(e)
	return true
}

// takesLocked reports whether an endpoint (nil: none) takes a delivery, and why not.
// Expired deliveries make room first.
func (c *Service) takesLocked(e *endpoint, d *delivery) (why bridge.Reason, ok bool) {
	switch {
	case c.closed:
		return bridge.Failed, false
	case d.to.hasEnded():
		return bridge.Disconnected, false
	case e == nil:
		return bridge.QueueFull, false
	}
	if !e.hasRoom(d, &c.opts) {
		now := c.now()
		c.drop(e.key.sender, bridge.Expired, e.discard(func(d *delivery) bool { return d.expired(now) }))
		if !e.hasRoom(d, &c.opts) {
			return bridge.QueueFull, false
		}
	}
	return bridge.QueueFull, c.findRoomLocked(e, d)
}
