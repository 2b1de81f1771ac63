//go:build !linux

package outbound

import (
	"net"
	"time"
)

// EndStuck does nothing: this system has no such option. A write deadline ends the
// connection.
func EndStuck(net.Conn, time.Duration) {}
