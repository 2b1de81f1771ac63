package outbound

import (
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// EndStuck makes the system end a connection whose peer acknowledges nothing for the time
// patience (tcp(7), TCP_USER_TIMEOUT). A write deadline does not do that if all data fits
// into the system's buffers.
func EndStuck(nc net.Conn, patience time.Duration) {
	Control(nc, func(fd uintptr) { // best effort: a write deadline ends it too
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(patience.Milliseconds()))
	})
}
