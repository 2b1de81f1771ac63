//go:build !unix

package outbound

import "net"

// rawSocket does not exist on this system: a goroutine writes.
type rawSocket struct{}

func newRawSocket(net.Conn) *rawSocket { return nil }

func (*rawSocket) write([]byte) (int, error) { return 0, nil }
