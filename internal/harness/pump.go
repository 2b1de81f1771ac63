package harness

import (
	"sync"

	"watchtower/bridge/outbound"
)

// Pump sends the frames of a node among others, in a goroutine while there are some.
type Pump struct {
	Next func() []byte
	Send func([]byte)

	mu    sync.Mutex
	runs  bool
	again bool // it was woken meanwhile
}

// Wake is cluster.Transport's.
func (p *Pump) Wake(*outbound.Round) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.again = p.runs; !p.runs {
		p.runs = true
		go p.run()
	}
}

func (p *Pump) run() {
	for going := true; going; {
		for frame := p.Next(); frame != nil; frame = p.Next() {
			p.Send(frame)
		}
		p.mu.Lock()
		going = p.again
		p.runs, p.again = going, false
		p.mu.Unlock()
	}
}
