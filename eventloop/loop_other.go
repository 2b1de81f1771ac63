//go:build !linux

package eventloop

import (
	"errors"
	"net"
)

// Loops do not exist on this system.
type Loops struct{}

// Start returns errors.ErrUnsupported.
func Start() (*Loops, error) { return nil, errors.ErrUnsupported }

// Close does nothing.
func (*Loops) Close() {}

// Socket returns nil.
func (*Loops) Socket(net.Conn, Handler) *Socket { return nil }

// Socket is nil on this system. It cannot be parked.
type Socket struct{}

// Park returns false.
func (*Socket) Park() bool { return false }

// Kick does nothing.
func (*Socket) Kick() {}

// Unkick does nothing.
func (*Socket) Unkick() {}

// Parked returns false.
func (*Socket) Parked() bool { return false }
