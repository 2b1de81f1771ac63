package callback

import (
	"cmp"
	"slices"
	"time"
)

// turns decide which endpoint may make an attempt. The sender with the fewest attempts in
// progress comes first; among equals the most urgent; then the one that has waited
// longest. The last tenth is for senders without an attempt in progress. Guarded by
// Service.mu.
type turns struct {
	most  int
	going map[*attempt]struct{}
	ready rank[*share] // shares with a waiting endpoint, in the order of their turns
	lined uint64       // how many endpoints have lined up so far
	timer *time.Timer  // calls makeRoom; nil: no endpoint has to wait
}

// An attempt may be cut short after givesWayAfter, for a sender with fewer attempts in
// progress. makeRoom runs every cutEvery while endpoints wait, for the first cutsAtOnce
// senders.
const (
	givesWayAfter = 500 * time.Millisecond
	cutEvery      = 20 * time.Millisecond
	cutsAtOnce    = 64
)

func newTurns(most int) *turns {
	return &turns{most: most, going: map[*attempt]struct{}{}, ready: rank[*share]{
		place: func(s *share) *int { return &s.byTurn },
		before: func(a, b *share) bool {
			if a.going != b.going {
				return a.going < b.going
			}
			e, of := a.next()
			f, than := b.next()
			return of < than || of == than && e.lined < f.lined
		},
	}}
}

func (t *turns) lineUp(e *endpoint) {
	t.lined++
	e.lined, e.phase = t.lined, lined
	u := e.urgency()
	e.share.lines[u] = append(e.share.lines[u], e)
	t.changed(e.share)
}

// leave takes an endpoint out of the line.
func (t *turns) leave(e *endpoint) {
	for u, line := range e.share.lines {
		switch i := slices.Index(line, e); {
		case i == 0: // the usual case
			line[0] = nil
			e.share.lines[u] = line[1:]
		case i > 0:
			e.share.lines[u] = slices.Delete(line, i, i+1)
		}
	}
	t.changed(e.share)
}

// changed updates a share's place in ready.
func (t *turns) changed(sh *share) {
	switch e, _ := sh.next(); {
	case e == nil:
		t.ready.remove(sh)
	case sh.byTurn == 0:
		t.ready.add(sh)
	default:
		t.ready.moved(sh)
	}
}

// next takes the endpoint whose turn it is out of the line; nil: none may begin.
func (t *turns) next() *endpoint {
	if len(t.ready.members) == 0 {
		return nil
	}
	sh, free := t.ready.members[0], t.most-len(t.going)
	if free <= 0 || sh.going > 0 && free <= t.most/10 {
		return nil
	}
	e, _ := sh.next()
	t.leave(e)
	return e
}

// begin counts an attempt.
func (t *turns) begin(a *attempt) {
	t.going[a] = struct{}{}
	a.e.share.going++
	t.changed(a.e.share)
}

// end ends the count of an attempt.
func (t *turns) end(a *attempt) {
	delete(t.going, a)
	sh := a.e.share
	sh.going--
	if a.cut {
		sh.cut--
	}
	t.changed(sh)
}

// makeRoom cuts slow attempts short for the senders that wait: for each, the longest
// attempt of the sender that has most in progress. If that is the waiting sender itself,
// its own first tries get the room.
func (t *turns) makeRoom(now time.Time) {
	var slow []*attempt
	for a := range t.going {
		if !a.cut && now.Sub(a.began) >= givesWayAfter {
			slow = append(slow, a)
		}
	}
	slices.SortFunc(slow, func(a, b *attempt) int { return a.began.Compare(b.began) })
	for _, sh := range t.ready.members[:min(cutsAtOnce, len(t.ready.members))] { // about in the order of their turns
		if len(slow) == 0 {
			return
		}
		if _, u := sh.next(); u == again && sh.going > 0 {
			continue
		}
		left := func(a *attempt) int { return a.e.share.going - a.e.share.cut }
		most := slices.MaxFunc(slow, func(a, b *attempt) int { return cmp.Compare(left(a), left(b)) }) // among equals the oldest
		if left(most) > sh.going || most.e.share == sh && sh.cut == 0 {
			most.cutShort()
			slow = slices.DeleteFunc(slow, func(a *attempt) bool { return a == most })
		}
	}
}
