//go:build !linux

package outbound

import (
	"net"
	"time"
)

// EndStuck does nothing where the system has no such option: a write that is too late
// ends the connection.
func EndStuck(net.Conn, time.Duration) {}
