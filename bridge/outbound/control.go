package outbound

import (
	"net"
	"syscall"
)

// Control calls f with the descriptor of a connection, if that is one of the system's,
// below TLS and whatever else has a NetConn. F is not to keep it.
func Control(nc net.Conn, f func(fd uintptr)) {
	for {
		if sc, ok := nc.(syscall.Conn); ok {
			if raw, err := sc.SyscallConn(); err == nil {
				_ = raw.Control(f) // fails once it is closed, as reading and writing then do
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
