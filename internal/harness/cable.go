package harness

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// Cable is a TCP connection that can be cut, or stop to pass anything on.
type Cable struct {
	listener net.Listener
	to       string

	mu    sync.Mutex
	cut   bool
	still chan struct{} // not nil: nothing passes until it is closed
	conns map[net.Conn]struct{}
	wires sync.WaitGroup
}

// NewCable lays a cable to an address. It ends with the test.
func NewCable(t testing.TB, to string) *Cable {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	c := &Cable{listener: l, to: to, conns: map[net.Conn]struct{}{}}
	c.wires.Go(c.accept)
	t.Cleanup(func() {
		_ = l.Close()
		c.set(true)
		c.wires.Wait()
	})
	return c
}

func (c *Cable) accept() {
	for {
		near, err := c.listener.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", c.to)
		if err != nil || !c.plug(near, far) {
			_ = near.Close()
			continue
		}
		for _, ends := range [][2]net.Conn{{near, far}, {far, near}} {
			c.wires.Go(func() {
				_, _ = io.Copy(through{c, ends[0]}, ends[1])
				_ = ends[0].Close()
				_ = ends[1].Close()
				c.unplug(ends)
			})
		}
	}
}

func (c *Cable) plug(ends ...net.Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range ends {
		if c.cut {
			_ = e.Close()
		}
		c.conns[e] = struct{}{}
	}
	return !c.cut
}

func (c *Cable) unplug(ends [2]net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.conns, ends[0])
	delete(c.conns, ends[1])
}

// Addr is the address of the near end.
func (c *Cable) Addr() string { return c.listener.Addr().String() }

// Connections is how many connections go through the cable.
func (c *Cable) Connections() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.conns) / 2
}

// Freeze lets nothing more pass, without a sign to either end, until Cut or Mend.
func (c *Cable) Freeze() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.still == nil {
		c.still = make(chan struct{})
	}
}

// through is one end of the cable. Its bytes wait while the cable is frozen.
type through struct {
	c *Cable
	net.Conn
}

func (t through) Write(b []byte) (int, error) {
	t.c.mu.Lock()
	still := t.c.still
	t.c.mu.Unlock()
	if still != nil {
		<-still
	}
	return t.Conn.Write(b)
}

// Cut ends all connections, and lets none through until Mend.
func (c *Cable) Cut() { c.set(true) }

// Mend lets new connections through again; what is still connected is cut.
func (c *Cable) Mend() { c.set(false) }

func (c *Cable) set(cut bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cut = cut
	for conn := range c.conns {
		_ = conn.Close()
		delete(c.conns, conn)
	}
	if c.still != nil {
		close(c.still)
		c.still = nil
	}
}

// FreeAddress is an address that nobody listens at, for what stops there and starts again.
// Its port is none of those that the system gives out, and until the test ends no other test gets
// it, so nobody has it meanwhile.
func FreeAddress(t testing.TB) string {
	t.Helper()
	for range 1000 {
		port := 12_000 + rand.IntN(20_000)
		if !reserve(t, port) {
			continue
		}
		at := fmt.Sprintf("127.0.0.1:%d", port)
		tcp, err := net.Listen("tcp", at)
		if err != nil {
			continue
		}
		tcp.Close()
		udp, err := net.ListenPacket("udp", at)
		if err != nil {
			continue
		}
		_ = udp.Close()
		return at
	}
	require.Fail(t, "no port is free")
	return ""
}

// reserve makes a port this test's among all tests that run on this machine. It reports false if
// another has it.
func reserve(t testing.TB, port int) bool {
	if runtime.GOOS != "linux" {
		return true
	}
	l, err := net.Listen("unix", fmt.Sprintf("@watchtower-test-port-%d", port)) // an abstract name: no file
	if err != nil {
		return false
	}
	t.Cleanup(func() { _ = l.Close() })
	return true
}
