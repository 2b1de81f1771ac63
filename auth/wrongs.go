package auth

import (
	"net/netip"
	"slices"
	"sync"
	"time"

	"watchtower/bridge"
)

// wrongsMost is how many refused callers are remembered. A further one takes the place of the
// one that tried longest ago.
const wrongsMost = 64

// Tries are the wrong tries of one address over one protocol, for one reason.
type Tries struct {
	At    netip.Addr
	Name  string // as it called itself last
	Via   bridge.Protocol
	Why   Reason
	Count int
	Last  time.Time
}

// wrongs are the tries that were wrong lately, for an operator to see.
type wrongs struct {
	mu  sync.Mutex
	all []Tries
}

func (w *wrongs) note(c Caller, why Reason, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	i := slices.IndexFunc(w.all, func(t Tries) bool { return t.At == c.At && t.Via == c.Via && t.Why == why })
	if i < 0 && len(w.all) < wrongsMost {
		w.all = append(w.all, Tries{})
		i = len(w.all) - 1
	} else if i < 0 {
		i = 0
		for j := range w.all {
			if w.all[j].Last.Before(w.all[i].Last) {
				i = j
			}
		}
		w.all[i] = Tries{}
	}
	w.all[i] = Tries{At: c.At, Name: c.Name, Via: c.Via, Why: why, Count: w.all[i].Count + 1, Last: now}
}

// Wrongs returns the wrong tries since a time, the last first. They are in memory only, and
// the oldest are forgotten when there are many.
func (g *Gate) Wrongs(since time.Time) []Tries {
	g.wrongs.mu.Lock()
	defer g.wrongs.mu.Unlock()
	lately := slices.DeleteFunc(slices.Clone(g.wrongs.all), func(t Tries) bool { return t.Last.Before(since) })
	slices.SortFunc(lately, func(a, b Tries) int { return b.Last.Compare(a.Last) })
	return lately
}
