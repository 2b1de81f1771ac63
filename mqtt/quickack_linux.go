package mqtt

import (
	"net"

	"golang.org/x/sys/unix"

	"watchtower/bridge/outbound"
)

// acknowledgeSegments has the system acknowledge at once what it has received on a
// connection. It waits for 40 ms else, for an answer to go along: a client that
// acknowledges a message, and then speaks, is held back for so long by Nagle's
// algorithm (RFC 896), since nothing answers an acknowledgement (tcp(7), TCP_QUICKACK).
func acknowledgeSegments(nc net.Conn) {
	outbound.Control(nc, func(fd uintptr) { // a hint: what fails costs those 40 ms
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_QUICKACK, 1)
	})
}
