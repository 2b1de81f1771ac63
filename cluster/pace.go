package cluster

import (
	"sort"
	"sync/atomic"
	"time"

	"watchtower/bridge"
)

// A publisher may be told to wait while another gateway is more than window bytes behind. It
// waits only for gateways that go on: one that has not moved for stuckAfter is not waited
// for until it has caught up.
const (
	window     = 4 << 20
	stuckAfter = 250 * time.Millisecond
)

// pace knows how far the other gateways are. Guarded by stream.mu.
type pace struct {
	peers map[bridge.Slot]*runner
	last  uint64        // of the bytes that were written, how many those who go on all have
	any   bool          // there is one who goes on
	moved chan struct{} // closed when one has moved; nil: nobody waits
	full  atomic.Bool   // somebody who goes on is half of window behind; read without the lock
}

// runner is how far one gateway is.
type runner struct {
	at    uint64 // of stream.written
	stuck bool
}

// behind reports whether somebody who goes on is more than so many bytes behind.
func (p *pace) behind(written, most uint64) bool { return p.any && written-p.last > most }

// wrote notes how many bytes were written.
func (p *pace) wrote(written uint64) {
	if full := p.behind(written, window/2); full != p.full.Load() {
		p.full.Store(full)
	}
}

// changed notes that somebody has moved, is stuck, or has gone. Those who wait look again.
func (p *pace) changed(written uint64) {
	p.any = false
	for _, r := range p.peers {
		if !r.stuck && (!p.any || r.at < p.last) {
			p.any, p.last = true, r.at
		}
	}
	p.wrote(written)
	if p.moved != nil {
		close(p.moved)
		p.moved = nil
	}
}

// has notes that a gateway has all entries before a number.
func (s *stream) has(slot bridge.Slot, run, before uint64) {
	if run != s.run {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	at := s.written
	if i := sort.Search(len(s.kept), func(i int) bool { return s.kept[i].first+s.kept[i].n > before }); i < len(s.kept) {
		at = s.kept[i].end - uint64(len(s.kept[i].b))
	}
	r := s.pace.peers[slot]
	if r == nil {
		if s.pace.peers == nil {
			s.pace.peers = map[bridge.Slot]*runner{}
		}
		r = &runner{at: at}
		s.pace.peers[slot] = r
		s.pace.changed(s.written)
	}
	if at <= r.at {
		return
	}
	r.at = at
	if s.written-at <= window/2 {
		r.stuck = false
	}
	s.pace.changed(s.written)
}

// gone forgets a gateway, for which nobody waits any more.
func (s *stream) gone(slot bridge.Slot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.pace.peers, slot)
	s.pace.changed(s.written)
}

// wait waits until the other gateways keep up, or until a time.
func (s *stream) wait(until time.Time) {
	for {
		s.mu.Lock()
		left := min(time.Until(until), stuckAfter)
		if left <= 0 || !s.pace.behind(s.written, window) {
			s.mu.Unlock()
			return
		}
		if s.pace.moved == nil {
			s.pace.moved = make(chan struct{})
		}
		moved := s.pace.moved
		s.mu.Unlock()
		t := time.NewTimer(left)
		select {
		case <-moved:
			t.Stop()
		case <-t.C:
			if left == stuckAfter {
				s.nobodyMoved(moved)
			}
		}
	}
}

// nobodyMoved notes that those who are too far behind are stuck, if none has moved since.
func (s *stream) nobodyMoved(since chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pace.moved != since {
		return
	}
	for _, r := range s.pace.peers {
		if s.written-r.at > window {
			r.stuck = true
		}
	}
	s.pace.changed(s.written)
}

// lag is how many bytes a gateway is behind.
func (s *stream) lag(slot bridge.Slot) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.pace.peers[slot]; r != nil {
		return int(s.written - r.at)
	}
	return 0
}

// hasRoom reports whether say would not wait.
func (s *stream) hasRoom() bool { return !s.pace.full.Load() }
