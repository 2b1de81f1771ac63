package auth

import (
	"container/list"
	"net/netip"
	"sync"
)

// provedMost is the most addresses that are known to have proved themselves. One takes
// about 200 bytes.
const provedMost = 32_768

// proved holds the addresses that proved themselves last.
type proved struct {
	most int

	mu    sync.Mutex
	known map[netip.Addr]*list.Element
	order list.List // of netip.Addr, the latest first
}

func newProved(most int) *proved {
	return &proved{most: most, known: map[netip.Addr]*list.Element{}}
}

func (p *proved) add(a netip.Addr) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e := p.known[a]; e != nil {
		p.order.MoveToFront(e)
		return
	}
	p.known[a] = p.order.PushFront(a)
	if len(p.known) > p.most {
		delete(p.known, p.order.Remove(p.order.Back()).(netip.Addr))
	}
}

func (p *proved) has(a netip.Addr) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.known[a] != nil
}
