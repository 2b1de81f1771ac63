//go:build !linux

package bare

import (
	"context"
	"errors"
	"net"
)

// UDP is basic frames over UDP. It needs Linux, which has sendmmsg.
type UDP struct{}

// Serve closes the connection and returns an error.
func (u *UDP) Serve(_ context.Context, c *net.UDPConn) error {
	return errors.Join(errors.New("bare: UDP is for Linux"), c.Close())
}
