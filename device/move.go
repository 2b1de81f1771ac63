package device

import (
	"context"

	"watchtower/wire/frame"
)

// Rebind goes on from another port, as after a change of networks: the session
// stays.
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

// repeatAll has every request said again at once, in a place where nothing is known
// of it.
func (s *live) repeatAll() {
	for _, p := range s.pending {
		select {
		case p.moved <- struct{}{}:
		default:
		}
	}
}

// proof is the p that showed an address last.
type proof struct {
	challenge string
	seq       uint32
	raw       []byte
}

// prove shows the gateway that the device is at its new address, and repeats
// what is not answered. A challenge that comes twice is answered by the same p, as
// long as nothing newer was sent: a number is used for each move, and not for each q.
func (c *Client) prove(s *live, challenge []byte) {
	if _, err := frame.ParseChallenge(challenge); err != nil {
		return
	}
	c.mu.Lock()
	if s.proof.challenge != string(challenge) || s.proof.seq != s.seq {
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

// probe sends a ping ahead of a request that is repeated, if newer numbers were used
// since: at a new address the gateway may look at none that is not its newest.
func (c *Client) probe(s *live, p *pending) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.datagrams() && s == c.live && s.seq > p.seq {
		c.pingLocked()
	}
}
