package outbound

import (
	"io"
	"net"
	"time"
)

// Bounds of Drain.
const (
	drainFor   = time.Second
	drainBytes = 8 << 20
)

// Drain closes the sending half of a connection, of TLS too, and reads until the peer closes,
// for a second and 8 MiB at most. The caller closes the connection afterwards.
//
// It is for a connection that ends while the peer may still be sending: TCP resets a
// connection that is closed with unread bytes, and the peer then may lose what was written
// last, which says why. Nobody else reads meanwhile.
func Drain(nc net.Conn) {
	for {
		if half, ok := nc.(interface{ CloseWrite() error }); ok {
			_ = half.CloseWrite() // on an error the peer has gone, and reading ends at once
		}
		within, ok := nc.(interface{ NetConn() net.Conn })
		if !ok {
			break
		}
		nc = within.NetConn()
	}
	if nc.SetReadDeadline(time.Now().Add(drainFor)) == nil {
		_, _ = io.CopyN(io.Discard, nc, drainBytes)
	}
}
