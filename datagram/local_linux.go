package datagram

import (
	"net/netip"
	"sync"
	"sync/atomic"
)

// mostLocals is how many addresses get a number. A machine has a few, of which some
// change each day. For further addresses the system chooses.
const mostLocals = 1024

// locals numbers addresses. Reading takes no lock.
type locals struct {
	mu    sync.Mutex
	known map[netip.Addr]Local
	all   atomic.Pointer[[]netip.Addr] // from 1 on
}

// number returns the number of an address.
func (s *Socket) number(a netip.Addr) Local {
	if !a.IsValid() || a.IsUnspecified() {
		return 0
	}
	l := &s.locals
	l.mu.Lock()
	defer l.mu.Unlock()
	if n, ok := l.known[a]; ok || len(l.known) >= mostLocals {
		return n
	}
	if l.known == nil {
		l.known = map[netip.Addr]Local{}
	}
	n := Local(len(l.known) + 1)
	l.known[a] = n
	all := make([]netip.Addr, n+1)
	if old := l.all.Load(); old != nil {
		copy(all, *old)
	}
	all[n] = a
	l.all.Store(&all)
	return n
}

// local returns the address with a number.
func (s *Socket) local(n Local) netip.Addr {
	if all := s.locals.all.Load(); all != nil && int(n) < len(*all) {
		return (*all)[n]
	}
	return netip.Addr{}
}
