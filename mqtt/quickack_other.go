//go:build !linux

package mqtt

import "net"

// acknowledgeSegments does nothing: the system has no such option.
func acknowledgeSegments(net.Conn) {}
