package device

import (
	"context"
	"time"

	"watchtower/wire/frame"
)

// connect opens a connection in place of the present one, and reads from it.
func (c *Client) connect(ctx context.Context) error {
	conn, err := c.dial(ctx)
	if err != nil {
		return err
	}
	c.mu.Lock()
	old := c.conn
	c.conn = conn
	c.mu.Unlock()
	if old != nil {
		_ = old.Close()
	}
	select {
	case <-c.closed:
		_ = conn.Close() // stop may have closed the old one only
	default:
	}
	c.running.Go(func() {
		_ = c.read(conn)
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.conn == conn && conn.stream() { // the session ended with it
			c.registerLocked(false)
		}
	})
	return nil
}

// keep keeps the session alive and gets new ones, until the client is closed.
func (c *Client) keep() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	c.running.Go(func() {
		select {
		case <-c.closed:
			cancel()
		case <-ctx.Done():
		}
	})
	t := time.NewTicker(min(c.opts.KeepAlive/8, mostTick))
	defer t.Stop()
	for {
		select {
		case <-c.closed:
			return
		case <-c.wanted:
			c.renew(ctx)
		case now := <-t.C:
			c.tick(now)
		}
	}
}

// mostTick is the most time between two calls of tick.
const mostTick = 5 * time.Second

// tick sends a keep-alive when it is time. It gives up a session from which nothing was
// heard, and a message that is missing for too long.
//
// Only an answer shows that a request arrived, and that the session lives on at the
// gateway. What was written may be lost, and what is heard may lead only to
// acknowledgements, which nobody answers.
func (c *Client) tick(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.asleep:
		c.heard = now
	case now.Sub(c.heard) > c.opts.KeepAlive*7/2:
		c.registerLocked(false)
	case now.Sub(c.shown) >= c.opts.KeepAlive/2:
		c.pingLocked()
	}
	c.overdueLocked(now)
}

// pingLocked sends a ping in the background, unless one is on its way.
func (c *Client) pingLocked() {
	if c.keeping || c.live == nil {
		return
	}
	select {
	case <-c.closed: // stop waits for nothing that begins now
		return
	default:
	}
	c.keeping = true
	s := c.live
	c.running.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), c.opts.KeepAlive)
		defer cancel()
		_, _ = c.requestIn(ctx, s, frame.Ping, 0, nil) // if it fails, tick notices the silence
		c.mu.Lock()
		defer c.mu.Unlock()
		c.keeping = false
	})
}

// renew gets a new session, and joins the client's channels there.
func (c *Client) renew(ctx context.Context) {
	for n := 0; ctx.Err() == nil; n++ {
		if n > 0 || !c.datagrams() {
			if !pause(ctx, c.gapBefore(n)) {
				return
			}
			if c.connect(ctx) != nil {
				continue
			}
		}
		attempt, cancel := context.WithTimeout(ctx, 10*time.Second)
		s, err := c.register(attempt)
		if err == nil {
			c.begin(s)
			err = c.rejoin(attempt, s)
		}
		cancel()
		if err != nil {
			if c.opts.OnFailure != nil && ctx.Err() == nil {
				c.opts.OnFailure(err)
			}
			continue
		}
		c.announce(s)
		if c.opts.OnSession != nil {
			c.opts.OnSession(s.id)
		}
		return
	}
}

// gapBefore is how long to wait before the nth attempt at a new connection. The first
// comes at once, unless the session has only just begun: otherwise two clients of one
// name would displace each other as fast as they can.
func (c *Client) gapBefore(n int) time.Duration {
	if n > 0 {
		return c.opts.RetryGap << min(n-1, 3)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.opts.RetryGap - time.Since(c.began)
}

// pause waits. It reports false if ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
