package mqtt

import (
	"net"

	"golang.org/x/sys/unix"

	"watchtower/bridge/outbound"
)

// acknowledgeSegments makes the system acknowledge received TCP segments at once (tcp(7),
// TCP_QUICKACK). Otherwise it waits 40 ms for an answer to send along. An MQTT
// acknowledgement gets no answer, so Nagle's algorithm (RFC 896) would hold back a client
// that acknowledges a message and then publishes.
func acknowledgeSegments(nc net.Conn) {
	outbound.Control(nc, func(fd uintptr) { // a failure only costs those 40 ms
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_QUICKACK, 1)
	})
}
