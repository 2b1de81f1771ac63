package mqtt

import (
	"crypto/tls"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// acknowledgeSegments has the system acknowledge at once what it has received on a
// connection. It waits for 40 ms else, for an answer to go along: a client that
// acknowledges a message, and then speaks, is held back for so long by Nagle's
// algorithm (RFC 896), since nothing answers an acknowledgement (tcp(7), TCP_QUICKACK).
func acknowledgeSegments(nc net.Conn) {
	if secure, ok := nc.(*tls.Conn); ok {
		nc = secure.NetConn()
	}
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return // it is closed
	}
	_ = raw.Control(func(fd uintptr) { // it is a hint: what fails costs those 40 ms
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_QUICKACK, 1)
	})
}
