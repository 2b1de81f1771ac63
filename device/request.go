package device

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"time"

	"watchtower/wire/frame"
)

// live is one session. The client's lock guards it.
type live struct {
	key         frame.Key
	hidden      bool // bodies are
	id          uint32
	maxDatagram int
	seq         uint32
	heard       window // of messages that are sent once
	order       order  // of those that are acknowledged
	proof       proof
	pending     map[uint32]*pending
	ready       chan struct{} // closed when its channels are joined
	over        chan struct{} // closed when the next session begins
	end         sync.Once
}

func (s *live) finish() { s.end.Do(func() { close(s.over) }) }

// pending is a request that waits for its answer.
type pending struct {
	seq    uint32
	raw    []byte
	ends   bool // it is a d that ends the session
	began  time.Time
	answer chan answer   // has room for one
	moved  chan struct{} // has room for one: the device has moved, and the request is sent again
}

// answered passes the first answer on.
func (p *pending) answered(a answer) {
	select {
	case p.answer <- a:
	default:
	}
}

type answer struct {
	code   frame.Code
	result []byte
}

// The gateway keeps its last eight answers, and knows which of the last 64 numbers it has
// taken. So no request may be further ahead of the oldest unanswered one: if that one's
// answer got lost, the gateway could not repeat it.
const (
	answersKept  = 8
	numbersKnown = 60
)

// endsSession is the body of a d that ends the session.
var endsSession = []byte{0, 0}

// request sends a request until it is answered. If the session ends first, it is sent in
// the next one, unless it is a message: then the error is ErrLost.
func (c *Client) request(ctx context.Context, op frame.Op, flags byte, body []byte) ([]byte, error) {
	for {
		s, err := c.session(ctx)
		if err != nil {
			return nil, err
		}
		result, err := c.requestIn(ctx, s, op, flags, body)
		if !errors.Is(err, ErrLost) || op == frame.Broadcast || op == frame.Send {
			return result, err
		}
	}
}

// session waits for a session whose channels are joined.
func (c *Client) session(ctx context.Context) (*live, error) {
	for {
		c.mu.Lock()
		s, changed := c.live, c.changed
		c.mu.Unlock()
		if s != nil {
			select {
			case <-s.over:
			case <-s.ready:
				return s, nil
			default:
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-c.closed:
			return nil, ErrClosed
		}
	}
}

// requestIn does the same within one session.
func (c *Client) requestIn(ctx context.Context, s *live, op frame.Op, flags byte, body []byte) ([]byte, error) {
	if len(body)+frame.Overhead > c.room() {
		return nil, Refused{Op: op, Code: frame.BadRequest}
	}
	p := &pending{answer: make(chan answer, 1), moved: make(chan struct{}, 1)}
	if err := c.turnLocked(ctx, s, answersKept); err != nil {
		return nil, err
	}
	p.raw = s.next(op, flags, body)
	p.seq, p.began = s.seq, time.Now()
	p.ends = op == frame.Bye && bytes.Equal(body, endsSession)
	s.pending[p.seq] = p
	c.asleep = op == frame.Bye
	c.mu.Unlock()
	defer c.forget(s, p.seq)
	roams := false
	for n := 0; ; n++ {
		if n > 0 {
			c.probe(s, p)
		}
		c.write(p.raw)
		t := time.NewTimer(c.gap(n, roams))
		select {
		case a := <-p.answer:
			t.Stop()
			c.showed(p)
			if a.code != frame.OK {
				return nil, Refused{Op: op, Code: a.code}
			}
			return a.result, nil
		case <-p.moved:
			t.Stop()
			n, roams = -1, true
		case <-s.over:
			t.Stop()
			return nil, ErrLost
		case <-ctx.Done():
			t.Stop()
			return nil, ctx.Err()
		case <-c.closed:
			t.Stop()
			return nil, ErrClosed
		case <-t.C:
		}
	}
}

// showed notes that a request was answered: the gateway knows that the device was
// there when it was sent.
func (c *Client) showed(p *pending) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p.began.After(c.shown) {
		c.shown = p.began
	}
}

// turnLocked waits until the next number may be used, and then holds the lock.
func (c *Client) turnLocked(ctx context.Context, s *live, ahead uint32) error {
	for {
		c.mu.Lock()
		if s.ahead() < ahead {
			return nil
		}
		freed := c.freed
		c.mu.Unlock()
		select {
		case <-freed:
		case <-s.over:
			return ErrLost
		case <-ctx.Done():
			return ctx.Err()
		case <-c.closed:
			return ErrClosed
		}
	}
}

// ahead is how far the next number is ahead of the oldest unanswered request's.
func (s *live) ahead() uint32 {
	oldest := s.seq + 1
	for seq := range s.pending {
		oldest = min(oldest, seq)
	}
	return s.seq + 1 - oldest
}

// forget takes out a request that is over.
func (c *Client) forget(s *live, seq uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(s.pending, seq)
	close(c.freed)
	c.freed = make(chan struct{})
}

// next makes the session's next frame.
func (s *live) next(op frame.Op, flags byte, body []byte) []byte {
	s.seq++
	raw := frame.Append(nil, frame.Frame{Op: op, Flags: flags, ID: s.id, Seq: s.seq, Body: body}, s.key)
	if s.hidden {
		s.key.Mask(raw)
	}
	return raw
}

// opens reports whether a frame's tag is right, and shows its body in place.
func (s *live) opens(raw []byte) bool {
	if s.hidden {
		s.key.Mask(raw)
	}
	return s.key.Verify(raw)
}

// gap is the time from the n-th sending, counted from 0, to the next. A device that roams
// may have moved again, so it repeats more often.
func (c *Client) gap(n int, roams bool) time.Duration {
	if !c.datagrams() {
		return time.Hour // the stream repeats
	}
	if roams {
		return c.opts.RetryGap << min(n, 1)
	}
	return c.opts.RetryGap << min(n, 3)
}

// datagrams reports whether the gateway is reached by datagrams, which get lost.
func (c *Client) datagrams() bool { return c.network == "udp" }

// room is the size in bytes of the largest frame that can be sent.
func (c *Client) room() int {
	if !c.datagrams() {
		return frame.MaxBody + frame.Overhead
	}
	return frame.MaxDatagram
}

// write sends a frame. An error needs no handling: requests are repeated, and the reader
// notices when the connection has ended.
func (c *Client) write(raw []byte) {
	c.mu.Lock()
	conn := c.conn
	c.mu.Unlock()
	if conn != nil {
		_, _ = conn.Write(raw)
	}
}
