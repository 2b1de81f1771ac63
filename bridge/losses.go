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

// lostMost is how many losses of senders are kept that are not known any more.
const lostMost = 64

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
	Gone bool // the sender is not known any more
	Loss
}

// lostLocked keeps the losses of a sender that is forgotten.
func (h *Hub) lostLocked(s *Sender) {
	for _, l := range s.losses() {
		h.lost = append(h.lost[max(0, len(h.lost)+1-lostMost):], SenderLoss{s.id, s.Name(), true, l})
	}
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
	list = append(list, h.lost...)
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
