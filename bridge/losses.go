package bridge

import (
	"cmp"
	"slices"
	"sync"
	"time"
)

// Loss is how many messages one receiver did not get, by one protocol and for one reason,
// since the start of the program.
type Loss struct {
	Via  Protocol
	Why  Reason
	N    uint64
	Last time.Time // by the second
}

// lostMost is how many senders are kept that are not known any more, and lost something.
const lostMost = 64

// losses are those of one sender. There is at most one for each protocol and reason.
type losses struct {
	mu     sync.Mutex
	all    []Loss
	gone   bool // the sender is not known any more
	listed bool // among those that are gone
}

// add adds a loss, and reports whether the sender is to be listed among those that are gone.
func (l *losses) add(p Protocol, r Reason, n int, second int64) (list bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := slices.IndexFunc(l.all, func(k Loss) bool { return k.Via == p && k.Why == r })
	if i < 0 {
		i = len(l.all)
		l.all = append(l.all, Loss{Via: p, Why: r})
	}
	l.all[i].N += uint64(n)
	l.all[i].Last = time.Unix(second, 0)
	return l.listLocked()
}

// end notes that the sender is not known any more, and reports the same as add.
func (l *losses) end() (list bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.gone = true
	return len(l.all) > 0 && l.listLocked()
}

func (l *losses) listLocked() bool {
	list := l.gone && !l.listed
	l.listed = l.listed || list
	return list
}

// lossesOf returns a sender's losses, for changes.
func (s *Sender) lossesOf() *losses {
	if l := s.lost.Load(); l != nil {
		return l
	}
	s.lost.CompareAndSwap(nil, &losses{})
	return s.lost.Load()
}

func (s *Sender) losses() []Loss {
	l := s.lost.Load()
	if l == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.all)
}

// Lose counts n drops for a reason, of messages that were for one sender.
func (c *Counters) Lose(s *Sender, p Protocol, r Reason, n int) {
	c.Drop(p, r, n)
	if n <= 0 || s == nil {
		return
	}
	if s.lossesOf().add(p, r, n, c.second.Load()) {
		c.gone.add(s)
	}
}

// gone are the senders that were forgotten last, and lost something. They may lose more: what waited
// for a connection is counted once that has ended.
type gone struct {
	mu  sync.Mutex
	all []*Sender
}

func (g *gone) add(s *Sender) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.all = append(g.all[max(0, len(g.all)+1-lostMost):], s)
}

// list returns their losses.
func (g *gone) list() (list []SenderLoss) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, s := range g.all {
		for _, l := range s.losses() {
			list = append(list, SenderLoss{s.id, s.Name(), true, l})
		}
	}
	return list
}

// SenderLoss is a loss, and whose it is.
type SenderLoss struct {
	ID   SenderID
	Name string
	Gone bool // the sender is not known any more
	Loss
}

// Losses lists the losses of all senders that are known and of the last that were forgotten, the
// last first, at most so many. It does not hold the hub's lock throughout.
func (r Registry) Losses(most int) (list []SenderLoss) {
	h := r.hub
	last := func() {
		slices.SortFunc(list, func(a, b SenderLoss) int {
			return cmp.Or(b.Last.Compare(a.Last), cmp.Compare(b.N, a.N), cmp.Compare(a.ID, b.ID))
		})
		list = list[:min(most, len(list))]
	}
	steps := 0
	h.mu.RLock()
	list = h.counters.gone.list()
	for id, s := range h.senders { // others may change the map whenever the lock is free
		for _, l := range s.losses() {
			list = append(list, SenderLoss{id, s.Name(), false, l})
		}
		if steps++; steps%manageSteps == 0 {
			h.mu.RUnlock()
			if len(list) > 4*most {
				last()
			}
			h.mu.RLock()
		}
	}
	h.mu.RUnlock()
	last()
	return list
}
