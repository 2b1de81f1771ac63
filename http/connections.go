package http

import (
	"net"
	nethttp "net/http"
	"sync"
)

// connections follows net/http's connections, whose goroutines it would not
// wait for otherwise.
type connections struct {
	open sync.WaitGroup

	mu    sync.Mutex
	fresh map[net.Conn]struct{} // without a request so far: Shutdown would wait 5 s for them
}

func (c *connections) changed(conn net.Conn, state nethttp.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if state == nethttp.StateNew {
		c.open.Add(1)
		c.fresh[conn] = struct{}{}
		return
	}
	delete(c.fresh, conn)
	if state == nethttp.StateClosed || state == nethttp.StateHijacked { // the broker waits for those
		c.open.Done()
	}
}

func (c *connections) closeFresh() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for conn := range c.fresh {
		_ = conn.Close() // its goroutine notices, whatever this says
	}
}
