package callback

import (
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
