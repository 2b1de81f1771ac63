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

// losses are those of one sender. There is at most one for each protocol and reason.
type losses struct {
	mu  sync.Mutex
	all []Loss
}

func (l *losses) add(p Protocol, r Reason, n int, second int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := slices.IndexFunc(l.all, func(k Loss) bool { return k.Via == p && k.Why == r })
	if i < 0 {
		i = len(l.all)
		l.all = append(l.all, Loss{Via: p, Why: r})
	}
	l.all[i].N += uint64(n)
	l.all[i].Last = time.Unix(second, 0)
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
	l := s.lost.Load()
	if l == nil {
		l = &losses{}
		if !s.lost.CompareAndSwap(nil, l) {
			l = s.lost.Load()
		}
	}
	l.add(p, r, n, c.second.Load())
}

// SenderLoss is a loss, and whose it is.
type SenderLoss struct {
	ID   SenderID
	Name string
	Loss
}

// Losses lists the losses of all senders that are known, the last first, at most so many. It
// does not hold the hub's lock throughout.
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
	for id, s := range h.senders { // others may change the map whenever the lock is free
		for _, l := range s.losses() {
			list = append(list, SenderLoss{id, s.Name(), l})
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
