package http

import (
	"net"
	nethttp "net/http"
	"sync"
)

// connections tracks net/http's connections, to wait for their goroutines.
type connections struct {
	open sync.WaitGroup

	mu    sync.Mutex
	fresh map[net.Conn]struct{} // no request yet: Shutdown would wait 5 s for these
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
	if state == nethttp.StateClosed || state == nethttp.StateHijacked { // Server.sockets counts the latter
		c.open.Done()
	}
}

func (c *connections) closeFresh() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for conn := range c.fresh {
		_ = conn.Close() // its goroutine ends, even on an error
	}
}
