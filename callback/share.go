package callback

import (
	"container/heap"
	"time"

	"github.com/sirupsen/logrus"

	"watchtower/bridge"
)

// share is what one sender holds of what all callbacks have together: bytes, and
// attempts in progress. There are no fixed portions. A sender may use what is free;
// where something is wanted and nothing is free, it is taken from whoever holds
// most. Guarded by Service.mu.
type share struct {
	pool      *shares
	sender    *bridge.Sender
	endpoints rank[*endpoint]           // the one that holds most first
	bytes     int                       // of what waits, and of what was given up and is kept
	going     int                       // attempts in progress
	cut       int                       // of those, the ones that were told to end
	lines     [numUrgencies][]*endpoint // that wait for a turn

	byBytes, byTurn int // its places in the ranks
}

// shares are those of all senders that have an endpoint.
type shares struct {
	of      map[*bridge.Sender]*share
	bytes   int          // of all together
	byBytes rank[*share] // who holds most first
}

func newShares() *shares {
	return &shares{
		of: map[*bridge.Sender]*share{},
		byBytes: rank[*share]{
			before: func(a, b *share) bool { return a.bytes > b.bytes },
			place:  func(s *share) *int { return &s.byBytes },
		},
	}
}

// endpoints lists those of a sender.
func (p *shares) endpoints(s *bridge.Sender) []*endpoint {
	if sh := p.of[s]; sh != nil {
		return sh.endpoints.members
	}
	return nil
}

// add gives an endpoint its place in its sender's share.
func (p *shares) add(e *endpoint) {
	sh := p.of[e.key.sender]
	if sh == nil {
		sh = &share{pool: p, sender: e.key.sender, endpoints: rank[*endpoint]{
			before: func(a, b *endpoint) bool { return a.held() > b.held() },
			place:  func(e *endpoint) *int { return &e.byBytes },
		}}
		p.of[sh.sender] = sh
		p.byBytes.add(sh)
	}
	e.share = sh
	sh.endpoints.add(e)
}

// remove forgets an endpoint that holds nothing.
func (p *shares) remove(e *endpoint) {
	sh := e.share
	if sh.endpoints.remove(e); len(sh.endpoints.members) == 0 {
		delete(p.of, sh.sender)
		p.byBytes.remove(sh)
	}
}

// hold counts bytes of an endpoint in, or out.
func (sh *share) hold(e *endpoint, n int) {
	sh.bytes += n
	sh.pool.bytes += n
	sh.endpoints.moved(e)
	sh.pool.byBytes.moved(sh)
}

// next is its endpoint whose turn comes first, and how urgent that is; nil: none
// waits.
func (sh *share) next() (*endpoint, urgency) {
	for u, line := range sh.lines {
		if len(line) > 0 {
			return line[0], urgency(u)
		}
	}
	return nil, numUrgencies
}

// rank is a heap whose members know their places in it.
type rank[T any] struct {
	members []T
	before  func(a, b T) bool
	place   func(T) *int // from 1; 0: it is no member
}

func (r *rank[T]) add(m T) { heap.Push(r, m) }

// moved puts a member where it belongs after a change.
func (r *rank[T]) moved(m T) {
	if at := *r.place(m); at > 0 {
		heap.Fix(r, at-1)
	}
}

func (r *rank[T]) remove(m T) {
	if at := *r.place(m); at > 0 {
		heap.Remove(r, at-1)
	}
}

// Len, Less, Swap, Push and Pop are heap.Interface's.
func (r *rank[T]) Len() int           { return len(r.members) }
func (r *rank[T]) Less(i, j int) bool { return r.before(r.members[i], r.members[j]) }

func (r *rank[T]) Swap(i, j int) {
	r.members[i], r.members[j] = r.members[j], r.members[i]
	*r.place(r.members[i]), *r.place(r.members[j]) = i+1, j+1
}

func (r *rank[T]) Push(m any) {
	r.members = append(r.members, m.(T))
	*r.place(r.members[len(r.members)-1]) = len(r.members)
}

func (r *rank[T]) Pop() any {
	var none T
	last := len(r.members) - 1
	m := r.members[last]
	r.members[last] = none
	r.members = r.members[:last]
	*r.place(m) = 0
	return m
}

// findRoomLocked reports whether a delivery more may wait for an endpoint. Where no
// byte is free, whoever holds more than its sender would lets its oldest go, and of
// one sender's endpoints the one that holds more. Something for an endpoint with
// nothing waiting gets in if anybody holds more than its sender does now. For those,
// and for receivers that took the last, bytes are set aside.
func (c *Service) findRoomLocked(e *endpoint, d *delivery) bool {
	own, n := e.share, d.size()
	more, aside := n, e.takes()
	if e.phase == idle && len(e.waiting) == 0 {
		more, aside = 0, true
	}
	for c.shares.bytes+n > c.opts.forAll() {
		v := c.shares.byBytes.members[0]
		w := v.endpoints.members[0]
		over := v.bytes > own.bytes+more
		if v == own {
			over = w != e && w.held() > e.held()+more
		}
		if !over || !c.letGoLocked(w) {
			return aside && c.shares.bytes+n <= c.opts.Bytes
		}
	}
	return true
}

// letGoLocked lets the oldest go that an endpoint holds: of what was given up, of
// what waits, and at last the current one, if no attempt at it has just begun.
func (c *Service) letGoLocked(e *endpoint) bool {
	switch {
	case len(e.failed) > 0: // it was counted when it was given up
		e.takeOldestFailed()
		c.changedLocked(e)
		return true
	case len(e.waiting) > 0:
		oldest := e.waiting[0]
		e.discard(func(d *delivery) bool { return d == oldest })
		c.drop(bridge.Limit, 1)
		c.changedLocked(e)
	case e.phase == posting && time.Since(e.attempt.began) < givesWayAfter || e.current == nil:
		return false
	case e.phase == posting:
		e.attempt.cutShort()
		c.drop(bridge.Limit, 1)
		c.doneLocked(e) // the rest when the attempt has ended
	default:
		c.dropCurrentLocked(e, bridge.Limit)
	}
	if now := time.Now(); now.Sub(c.warned) > time.Minute {
		c.warned = now
		c.log.WithFields(logrus.Fields{"sender": e.key.sender.ID(), "setting": "callbacks.bytes"}).Warn("too much waits for callbacks: whose sender holds most loses the oldest")
	}
	return true
}
