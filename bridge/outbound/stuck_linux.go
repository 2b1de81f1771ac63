package outbound

import (
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// EndStuck has the system end a connection whose peer takes nothing of what was
// written for so long, also where all of it fits into the system's own buffers, so
// that no write is ever too late (tcp(7), TCP_USER_TIMEOUT).
func EndStuck(nc net.Conn, patience time.Duration) {
	Control(nc, func(fd uintptr) { // a hint: without it a write that is too late still ends it
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(patience.Milliseconds()))
	})
}
