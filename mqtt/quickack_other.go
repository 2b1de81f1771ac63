//go:build !linux

package mqtt

import "net"

// acknowledgeSegments does nothing where the system has no such option.
func acknowledgeSegments(net.Conn) {}
