package device

import (
	"context"
	"time"

	"watchtower/wire"
	"watchtower/wire/frame"
)

// sameCookie is how often a registration with a cookie is sent before a new one begins:
// the gateway drops a repetition if the session that it made has ended.
const sameCookie = 5

// registerLocked asks for a new session; after a hint, every RegisterEvery at most. The
// present session goes on until the new one begins.
func (c *Client) registerLocked(hint bool) {
	now := time.Now()
	if hint && now.Sub(c.registered) < c.opts.RegisterEvery {
		return
	}
	c.registered = now
	select {
	case c.wanted <- struct{}{}:
	default:
	}
}

// register gets a new session, however long it takes.
func (c *Client) register(ctx context.Context) (*live, error) {
	for {
		s, err := c.registerOnce(ctx)
		if s != nil || err != nil {
			return s, err
		}
	}
}

// unspent returns the cnonce of the next registration. It stays the same until a cookie
// comes, so that an outage uses up none: firmware keeps them in EEPROM.
func (c *Client) unspent() [8]byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.nonce == nil {
		n := c.opts.Nonce()
		c.nonce = &n
	}
	return *c.nonce
}

// spend notes that a cookie came for the cnonce.
func (c *Client) spend() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.nonce = nil
}

// registerOnce tries with one nonce: until a cookie comes, and a few times more. It
// returns nil without an error if the caller has to try a new nonce.
func (c *Client) registerOnce(ctx context.Context) (*live, error) {
	r := c.opts.registration(c.unspent())
	raw := frame.AppendRegister(nil, r, *c.opts.Key)
	for n := 0; r.Cookie == [8]byte{} || n < sameCookie; n++ {
		c.write(raw)
		t := time.NewTimer(c.gap(n, false))
	waiting:
		for {
			select {
			case <-ctx.Done():
				t.Stop()
				return nil, ctx.Err()
			case <-c.closed:
				t.Stop()
				return nil, ErrClosed
			case <-t.C:
				break waiting
			case got := <-c.registration:
				s, cookie, err := c.registeredBy(r, got)
				if s != nil || err != nil {
					t.Stop()
					return s, err
				}
				if cookie != nil && *cookie != r.Cookie {
					c.spend()
					r.Cookie = *cookie
					raw = frame.AppendRegister(nil, r, *c.opts.Key)
					n = 0
					c.write(raw)
				}
			}
		}
	}
	return nil, nil
}

// registeredBy reads what came in answer to a registration: a session, a cookie,
// a refusal, or nothing.
func (c *Client) registeredBy(r frame.Registration, raw []byte) (*live, *[8]byte, error) {
	f, err := frame.Parse(raw)
	if err != nil {
		return nil, nil, nil
	}
	switch f.Op {
	case frame.Cookie:
		nonce, cookie, err := frame.ParseCookie(f.Body)
		if err == nil && nonce == r.CNonce && c.opts.Key.Verify(raw) {
			return nil, &cookie, nil
		}
	case frame.Error:
		if c.opts.Key.Verify(raw) {
			return nil, nil, Refused{Op: frame.Register, Code: f.Code()}
		}
	case frame.Answer:
		got, err := frame.ParseRegistered(f.Body)
		if err != nil || got.CNonce != r.CNonce {
			break
		}
		key := c.opts.Key.SessionKey(r.Options, r.CNonce, r.Cookie, f.ID)
		if !key.Verify(raw) {
			if c.opts.Key.SessionKey(r.Options&^frame.Hidden, r.CNonce, r.Cookie, f.ID).Verify(raw) {
				return nil, nil, ErrPlain // it ignored the option, and says so
			}
			break
		}
		return &live{
			key: key, hidden: c.opts.Hidden, id: f.ID, maxDatagram: int(got.MaxDatagram), pending: map[uint32]*pending{},
			ready: make(chan struct{}), over: make(chan struct{}),
		}, nil, nil
	}
	return nil, nil, nil
}

// begin puts a session in place of the one before.
func (c *Client) begin(s *live) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.live != nil {
		c.live.finish()
		c.releaseLocked(c.live)
	}
	c.live = s
	now := time.Now()
	c.heard, c.shown, c.began, c.registered = now, now, now, now
	select {
	case <-c.wanted: // asked for by the session before
	default:
	}
}

// announce lets requests use a session.
func (c *Client) announce(s *live) {
	close(s.ready)
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.changed)
	c.changed = make(chan struct{})
}

// joinedAtOnce is how many channels a frame names when they are joined again.
const joinedAtOnce = 200

// rejoin joins the channels that the client is on, in a new session.
func (c *Client) rejoin(ctx context.Context, s *live) error {
	c.mu.Lock()
	all := make([]uint32, 0, len(c.channels))
	for ch := range c.channels {
		all = append(all, ch)
	}
	c.mu.Unlock()
	for len(all) > 0 {
		n := min(len(all), joinedAtOnce)
		if _, err := c.requestIn(ctx, s, frame.Join, 0, wire.AppendIDs(nil, all[:n]...)); err != nil {
			return err
		}
		all = all[n:]
	}
	return nil
}
