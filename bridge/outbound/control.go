package outbound

import (
	"net"
	"syscall"
)

// Control calls f with the file descriptor of a connection. It looks below TLS, and below
// any other connection with a NetConn. F does not keep the descriptor.
func Control(nc net.Conn, f func(fd uintptr)) {
	for {
		if sc, ok := nc.(syscall.Conn); ok {
			if raw, err := sc.SyscallConn(); err == nil {
				_ = raw.Control(f) // fails on a closed connection, as reading and writing then do
			}
			return
		}
		within, ok := nc.(interface{ NetConn() net.Conn })
		if !ok {
			return
		}
		nc = within.NetConn()
	}
}
