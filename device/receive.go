package device

import (
	"bytes"
	"time"

	"watchtower/bridge/frame"
)

// windowSize is how far behind the newest a delivery may be.
const windowSize = 64

// window knows which deliveries were heard.
type window struct {
	newest uint32
	bits   uint64 // bit i: newest-i
}

func (w *window) fresh(seq uint32) bool {
	if seq > w.newest {
		return true
	}
	behind := w.newest - seq
	return seq != 0 && behind < windowSize && w.bits&(1<<behind) == 0
}

func (w *window) take(seq uint32) {
	if seq > w.newest {
		w.bits = w.bits<<(seq-w.newest) | 1
		w.newest = seq
	} else {
		w.bits |= 1 << (w.newest - seq)
	}
}

// read takes what a connection brings, until it ends.
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

// take is told of one frame of the gateway.
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
	case f.ID == s.id && s.key.Verify(raw):
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

// takeOf is told of an authentic frame of a session.
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

// hear passes a message on, once, and says that it is here. While Messages is
// full it says nothing, so that the gateway tries again where it does.
func (c *Client) hear(s *live, f frame.Frame) {
	d, err := frame.ParseDelivery(f.Body)
	if err != nil {
		return
	}
	if !c.pass(s, f.Seq, f.AckWanted() && c.network == "udp", message(d, f.Truncated())) {
		return
	}
	if f.AckWanted() {
		c.write(frame.Append(nil, frame.Frame{Op: frame.Delivered, ID: s.id, Seq: f.Seq}, s.key))
	}
}

// pass puts a message that is new into Messages. It reports false if that is full
// and the gateway is to try again.
func (c *Client) pass(s *live, seq uint32, repeated bool, m Message) bool {
	c.mu.Lock() // after Rebind there may be two readers
	defer c.mu.Unlock()
	if !s.heard.fresh(seq) {
		return true
	}
	select {
	case c.messages <- m:
	default:
		c.dropped.Add(1)
		if repeated {
			return false
		}
	}
	s.heard.take(seq)
	return true
}

// prove shows the gateway that the device is at its new address, and repeats
// what is not answered.
func (c *Client) prove(s *live, challenge []byte) {
	if _, err := frame.ParseChallenge(challenge); err != nil {
		return
	}
	c.mu.Lock()
	all := [][]byte{s.next(frame.Ping, 0, challenge)}
	for _, p := range s.pending {
		all = append(all, p.raw)
	}
	c.mu.Unlock()
	for _, raw := range all {
		c.write(raw)
	}
}

// hinted looks at a hint that the gateway does not know the session. It repeats
// the tag of what it answers, so not just anybody can have said it.
func (c *Client) hinted(s *live, f frame.Frame, raw []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := s.pending[f.Seq]
	if f.ID != s.id || p == nil || !bytes.Equal(p.raw[len(p.raw)-frame.TagSize:], raw[len(raw)-frame.TagSize:]) {
		return
	}
	if frame.Op(p.raw[0]) == frame.Bye && p.raw[frame.HeaderSize]|p.raw[frame.HeaderSize+1] == 0 {
		p.answered(answer{}) // there is nothing left to end
		return
	}
	c.registerLocked(true)
}
