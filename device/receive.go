package device

import (
	"bytes"
	"time"

	"watchtower/wire/frame"
)

// read takes frames from a connection, until it ends.
func (c *Client) read(conn *conn) error {
	buf := make([]byte, frame.MaxBody+frame.Overhead)
	for {
		raw, err := conn.read(buf)
		if err != nil {
			return err
		}
		c.take(raw)
	}
}

// take takes one frame from the gateway.
func (c *Client) take(raw []byte) {
	f, err := frame.Parse(raw)
	if err != nil || !f.Op.FromGateway() {
		return
	}
	if registers(f) {
		select {
		case c.registration <- append([]byte(nil), raw...):
		default: // one is enough
		}
		return
	}
	c.mu.Lock()
	s := c.live
	c.mu.Unlock()
	switch {
	case s == nil:
	case f.Op == frame.Error && f.Code() == frame.UnknownID && len(f.Body) == 0:
		c.hinted(s, f, raw)
	case f.ID == s.id && s.opens(raw):
		c.mu.Lock()
		c.heard = time.Now()
		c.mu.Unlock()
		c.takeOf(s, f)
	}
}

// registers reports whether a frame belongs to a registration.
func registers(f frame.Frame) bool {
	return f.Op == frame.Cookie || f.Seq == 0 && len(f.Body) > 0 && f.Body[0] == byte(frame.Register) && (f.Op == frame.Answer || f.Op == frame.Error)
}

// takeOf takes an authentic frame of a session.
func (c *Client) takeOf(s *live, f frame.Frame) {
	switch f.Op {
	case frame.Answer, frame.Error:
		_, result, err := frame.ParseAnswer(f.Body)
		if err != nil {
			return
		}
		c.mu.Lock()
		p := s.pending[f.Seq]
		c.mu.Unlock()
		if p == nil {
			return
		}
		p.answered(answer{f.Code(), append([]byte(nil), result...)})
	case frame.Delivery:
		c.hear(s, f)
	case frame.Challenge:
		c.prove(s, f.Body)
	}
}

// hear passes a message on, once, and acknowledges it. If there is no room for it, it
// does not, so that a gateway that repeats sends it again.
func (c *Client) hear(s *live, f frame.Frame) {
	d, err := frame.ParseDelivery(f.Body)
	if err != nil {
		return
	}
	m := message(d, f.Truncated())
	if !f.AckWanted() || !c.datagrams() {
		c.passOnce(s, f.Seq, m)
	} else if !c.passInOrder(s, f, m) {
		return
	}
	if f.AckWanted() {
		c.write(frame.Append(nil, frame.Frame{Op: frame.Delivered, ID: s.id, Seq: f.Seq}, s.key))
	}
}

// hinted checks a hint that the gateway does not know the session. The hint repeats the
// tag of a request, so only somebody who saw the request can have made it.
func (c *Client) hinted(s *live, f frame.Frame, raw []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := s.pending[f.Seq]
	if f.ID != s.id || p == nil || !bytes.Equal(p.raw[len(p.raw)-frame.TagSize:], raw[len(raw)-frame.TagSize:]) {
		return
	}
	if p.ends {
		p.answered(answer{}) // there is nothing left to end
		return
	}
	c.registerLocked(true)
}
