package udp

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"watchtower/datagram"
)

// absent knows the hosts of the local network that do not answer. For a while nothing is
// sent to them: it would take room in the socket's buffer from other receivers. It looks
// for such hosts when the buffer begins to fill.
type absent struct {
	neighbours *datagram.Neighbours // nil: the system does not say
	buffer     int
	some       atomic.Bool // there are such hosts

	mu     sync.Mutex // guards all below, and neighbours
	looked time.Time
	hosts  map[netip.Addr]*pause
}

// pause is how long nothing is sent to one host. After it one datagram goes there, so
// that the system looks for the host again.
type pause struct {
	until time.Time
	gap   time.Duration
}

const (
	lookEvery  = 2 * time.Millisecond
	firstPause = time.Second
	mostPause  = 32 * time.Second
)

func newAbsent(s *datagram.Socket) *absent {
	n, err := datagram.OpenNeighbours()
	if err != nil {
		n = nil
	}
	return &absent{neighbours: n, buffer: s.Buffer(), hosts: map[netip.Addr]*pause{}}
}

func (a *absent) close() {
	if a.neighbours != nil {
		a.neighbours.Close()
	}
}

// wrote looks for absent hosts, if what was written stays in the buffer. Full says that
// the buffer takes no more.
func (a *absent) wrote(out *datagram.Writer, full bool) {
	if a.neighbours == nil || !full && out.Queued() < a.buffer/4 {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if now := time.Now(); full || now.Sub(a.looked) >= lookEvery {
		a.lookLocked(now)
	}
}

// lookLocked asks the system which hosts are absent. A host that is back has no pause any
// more.
func (a *absent) lookLocked(now time.Time) {
	a.looked = now
	_ = a.neighbours.Each(func(at netip.Addr, missing bool) {
		switch p := a.hosts[at]; {
		case !missing && p != nil:
			delete(a.hosts, at)
		case missing && p == nil:
			a.hosts[at] = &pause{until: now.Add(firstPause), gap: firstPause}
		}
	})
	a.some.Store(len(a.hosts) > 0)
}

// refuses reports whether nothing may be sent to a host now.
func (a *absent) refuses(host netip.Addr) bool {
	if !a.some.Load() {
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	p := a.hosts[host]
	if p == nil {
		return false
	}
	now := time.Now()
	if now.Before(p.until) {
		return true
	}
	if now.Sub(a.looked) >= lookEvery {
		a.lookLocked(now)
	}
	if a.hosts[host] == nil { // it is there
		return false
	}
	p.gap = min(2*p.gap, mostPause)
	p.until = now.Add(p.gap)
	return false
}

// heard notes that a host is there.
func (a *absent) heard(host netip.Addr) {
	if !a.some.Load() {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.hosts, host)
	a.some.Store(len(a.hosts) > 0)
}
