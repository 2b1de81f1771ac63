package device

import (
	"slices"
	"time"

	"watchtower/wire/frame"
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

// passOnce puts a message that the gateway sends once into Messages, if it is new.
func (c *Client) passOnce(s *live, seq uint32, m Message) {
	c.mu.Lock() // after Rebind there may be two readers
	defer c.mu.Unlock()
	if !s.heard.fresh(seq) {
		return
	}
	s.heard.take(seq)
	select {
	case c.messages <- m:
	default:
		c.dropped.Add(1)
	}
}

// order puts messages back into the order of their numbers. With a Window the gateway has
// several outstanding, and sends the next while a lost one is missing.
type order struct {
	taken uint32  // all up to here were passed on, or will not come
	early []early // messages that came before a missing one, by their numbers
	since time.Time
}

type early struct {
	seq uint32
	Message
}

// missingFor is how long early messages wait for a missing one, if no flag says that it
// does not come. By then the gateway has given it up, 8 s after the tenth repetition.
const missingFor = 75 * time.Second

// passInOrder puts a message that the gateway repeats into Messages, or keeps it until
// those before it have come. It reports false if there is no room: then the gateway sends
// it again. A message that is kept always has room.
func (c *Client) passInOrder(s *live, f frame.Frame, m Message) bool {
	c.mu.Lock() // after Rebind there may be two readers
	defer c.mu.Unlock()
	o := &s.order
	switch {
	case s != c.live: // what it kept was passed on already
		return false
	case f.Seq <= o.taken:
		return true
	}
	i, had := slices.BinarySearchFunc(o.early, f.Seq, func(e early, seq uint32) int { return int(int64(e.seq) - int64(seq)) })
	first := f.NoneBefore() || c.opts.Window <= 1
	if first {
		c.passEarlyLocked(o, i)
		i, o.taken = 0, max(o.taken, f.Seq-1)
	}
	next := f.Seq == o.taken+1
	room := cap(c.messages) - len(c.messages) - len(o.early)
	switch {
	case had && !next:
		return true
	case !had && (room < 1 || room < 2 && !next): // the last place is for the one that is missing
		c.dropped.Add(1)
		return false
	case !had:
		o.early = slices.Insert(o.early, i, early{f.Seq, m})
	}
	if !next {
		if len(o.early) == 1 {
			o.since = time.Now()
		}
		return true
	}
	n := 0
	for n < len(o.early) && o.early[n].seq == o.taken+uint32(n)+1 {
		n++
	}
	c.passEarlyLocked(o, n)
	o.since = time.Now()
	return true
}

// passEarlyLocked passes on the first n of the early messages.
func (c *Client) passEarlyLocked(o *order, n int) {
	for _, e := range o.early[:n] {
		select {
		case c.messages <- e.Message:
		default: // never: there was room when it was kept
			c.dropped.Add(1)
		}
		o.taken = e.seq
	}
	if o.early = slices.Delete(o.early, 0, n); len(o.early) == 0 {
		o.early = nil
	}
}

// releaseLocked passes on all early messages: the missing ones do not come any more.
func (c *Client) releaseLocked(s *live) { c.passEarlyLocked(&s.order, len(s.order.early)) }

// overdueLocked gives up a message that has been missing for too long.
func (c *Client) overdueLocked(now time.Time) {
	if s := c.live; s != nil && len(s.order.early) > 0 && now.Sub(s.order.since) >= missingFor {
		c.releaseLocked(s)
	}
}
