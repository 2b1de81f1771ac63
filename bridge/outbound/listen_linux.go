package outbound

import (
	"cmp"
	"context"
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// How a connection on which nothing comes is found to be dead: the values of package net.
const (
	keepAliveIdle     = 15 // seconds of silence before the first probe
	keepAliveInterval = 15 // seconds between probes
	keepAliveCount    = 9  // probes without an answer
)

// Listen listens for TCP connections that EndStuck need not be called for. A connection has the
// options of its listener from the system (tcp(7)): five calls less for each. A system that does not
// know them leaves a listener as package net has it.
func Listen(address string, patience time.Duration) (net.Listener, error) {
	var failed error
	of := net.ListenConfig{KeepAlive: -1, Control: func(_, _ string, raw syscall.RawConn) error {
		return raw.Control(func(fd uintptr) {
			for _, o := range [][3]int{
				{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
				{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, keepAliveIdle},
				{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, keepAliveInterval},
				{unix.IPPROTO_TCP, unix.TCP_KEEPCNT, keepAliveCount},
				{unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(patience.Milliseconds())},
			} {
				failed = cmp.Or(failed, unix.SetsockoptInt(int(fd), o[0], o[1], o[2]))
			}
		})
	}}
	of.SetMultipathTCP(false) // its sockets do not know all of these options
	l, err := of.Listen(context.Background(), "tcp", address)
	if err == nil && failed != nil {
		l.Close()
		return net.Listen("tcp", address)
	}
	return l, err
}
