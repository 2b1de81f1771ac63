package callback

import (
	"watchtower/bridge"
)

// shownLocked counts a sender's callbacks, and finds the oldest one that is not attached
// any more.
func (c *Service) shownLocked(s *bridge.Sender) (n int, oldest *endpoint) {
	for _, e := range c.shares.endpoints(s) {
		if !e.shown() {
			continue
		}
		n++
		if len(e.attached) == 0 && e.phase == idle && (oldest == nil || e.state.LastErrorAt.Before(oldest.state.LastErrorAt)) {
			oldest = e
		}
	}
	return n, oldest
}

// reportsLocked counts a sender's endpoints that are only for delivery reports.
func (c *Service) reportsLocked(s *bridge.Sender) (n int) {
	for _, e := range c.shares.endpoints(s) {
		if !e.listed {
			n++
		}
	}
	return n
}

func (c *Service) newEndpointLocked(key endpointKey) *endpoint {
	c.numbers++
	e := &endpoint{key: key, number: c.numbers, attached: map[bridge.Channel]*receiver{}, saved: map[uint64]uint64{}}
	c.endpoints[key] = e
	c.shares.add(e)
	if t := c.together; t != nil && !key.reports {
		e.name = c.signer.keyOf(key)
		e.shard = shardOf(e.name)
		e.elsewhere = t.leases[e.shard] == nil
		t.keys[e.name] = key
	}
	return e
}

// forgetIdleLocked forgets an endpoint that has nothing to remember.
func (c *Service) forgetIdleLocked(e *endpoint) {
	known := len(e.attached) > 0 || e.phase != idle || len(e.waiting)+len(e.failed) > 0
	if e.listed && (e.state.Secret > 0 || e.state.Known || e.disabled() || e.off()) {
		known = true // until the sender is forgotten: see sweep
	}
	if !known && c.endpoints[e.key] == e {
		c.forgetLocked(e)
	}
}

func (c *Service) forgetLocked(e *endpoint) {
	e.discard(func(*delivery) bool { return true })
	e.takeFailed(func(*delivery) bool { return true })
	delete(c.endpoints, e.key)
	if c.together != nil {
		delete(c.together.keys, e.name)
	}
	c.shares.remove(e)
	c.changedLocked(e)
}

// sweep forgets endpoints whose senders were forgotten.
func (c *Service) sweep() {
	var unused []*endpoint
	c.mu.Lock()
	for _, e := range c.endpoints {
		if len(e.attached) == 0 && e.phase == idle {
			unused = append(unused, e)
		}
	}
	c.mu.Unlock() // lock order: the hub's lock before this one
	for _, e := range unused {
		if c.hub.Known(e.key.sender.ID()) {
			continue
		}
		c.mu.Lock()
		if c.endpoints[e.key] == e {
			if c.together != nil && !e.key.reports {
				c.together.changeLocked(e.key).gone = true
			}
			c.forgetLocked(e)
		}
		c.mu.Unlock()
	}
}
