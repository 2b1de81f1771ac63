package device

import (
	"context"

	"watchtower/wire/frame"
)

// Rebind continues the session from another port, as after a change of networks.
func (c *Client) Rebind(ctx context.Context) error {
	if err := c.connect(ctx); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.live != nil {
		c.live.repeatAll()
	}
	return nil
}

// repeatAll makes every pending request be sent again at once, now from the new address.
func (s *live) repeatAll() {
	for _, p := range s.pending {
		select {
		case p.moved <- struct{}{}:
		default:
		}
	}
}

// proof is the last p that proved an address.
type proof struct {
	challenge string
	seq       uint32
	raw       []byte
}

// prove proves the device's new address, and repeats unanswered requests. A challenge
// that comes twice is answered by the same p, as long as nothing newer was sent: a move
// uses up one number, however many q there are. Replayed challenges get no p that would
// carry the numbers away from those of unanswered requests.
func (c *Client) prove(s *live, challenge []byte) {
	if _, err := frame.ParseChallenge(challenge); err != nil {
		return
	}
	c.mu.Lock()
	if s.proof.challenge != string(challenge) || s.proof.seq != s.seq {
		if s.ahead() >= numbersKnown {
			c.mu.Unlock()
			return
		}
		raw := s.next(frame.Ping, 0, challenge)
		s.proof = proof{string(challenge), s.seq, raw}
	}
	raw := s.proof.raw
	c.mu.Unlock()
	c.write(raw)
	c.mu.Lock()
	defer c.mu.Unlock()
	s.repeatAll()
}

// probe sends a ping before a request is repeated, if newer numbers were used since: from
// a new address the gateway may ignore an older number.
func (c *Client) probe(s *live, p *pending) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.datagrams() && s == c.live && s.seq > p.seq {
		c.pingLocked()
	}
}
