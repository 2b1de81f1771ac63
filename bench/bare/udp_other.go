//go:build !linux

package bare

import (
	"context"
	"errors"
	"net"
)

// UDP is basic frames over UDP, on Linux only: elsewhere there is no sendmmsg.
type UDP struct{}

// Serve says that it cannot.
func (u *UDP) Serve(_ context.Context, c *net.UDPConn) error {
	return errors.Join(errors.New("bare: UDP is for Linux"), c.Close())
}
