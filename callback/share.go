package callback

import (
	"watchtower/bridge"
)

// share is one sender's part of the bytes and attempts of all callbacks. There are no
// fixed portions: a sender may use what is free. If nothing is free, the sender that holds
// most has to give. Guarded by Service.mu.
type share struct {
	pool      *shares
	sender    *bridge.Sender
	endpoints rank[*endpoint]           // the one that holds most first
	bytes     int                       // of its deliveries, with failed ones that are kept
	going     int                       // attempts in progress
	cut       int                       // those of them that were cut short
	lines     [numUrgencies][]*endpoint // endpoints that wait for a turn

	byBytes, byTurn int // its places in the ranks
}

// shares are the shares of all senders that have an endpoint.
type shares struct {
	of      map[*bridge.Sender]*share
	bytes   int          // of all together
	byBytes rank[*share] // the one that holds most first
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

// endpoints returns a sender's endpoints.
func (p *shares) endpoints(s *bridge.Sender) []*endpoint {
	if sh := p.of[s]; sh != nil {
		return sh.endpoints.members
	}
	return nil
}

// add adds an endpoint to its sender's share.
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

// remove removes an endpoint that holds nothing.
func (p *shares) remove(e *endpoint) {
	sh := e.share
	if sh.endpoints.remove(e); len(sh.endpoints.members) == 0 {
		delete(p.of, sh.sender)
		p.byBytes.remove(sh)
	}
}

// hold adds n bytes to an endpoint's; n may be negative.
func (sh *share) hold(e *endpoint, n int) {
	sh.bytes += n
	sh.pool.bytes += n
	sh.endpoints.moved(e)
	sh.pool.byBytes.moved(sh)
}

// next returns its endpoint whose turn comes first, and the urgency; nil: none waits.
func (sh *share) next() (*endpoint, urgency) {
	for u, line := range sh.lines {
		if len(line) > 0 {
			return line[0], urgency(u)
		}
	}
	return nil, numUrgencies
}
