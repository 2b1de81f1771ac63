//go:build !linux

package outbound

import (
	"net"
	"time"
)

// EndStuck does nothing: this system has no such option. A write deadline ends the
// connection.
func EndStuck(net.Conn, time.Duration) {}

// Listen listens for TCP connections.
func Listen(address string, _ time.Duration) (net.Listener, error) { return net.Listen("tcp", address) }
