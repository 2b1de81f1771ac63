//go:build unix

package outbound

import (
	"net"
	"os"
	"syscall"
)

// rawSocket writes to a socket without waiting.
//
// Its system calls do not block, so the scheduler is not told of them. To tell it wakes the
// runtime's monitor if everything was idle, and that costs more than a message.
type rawSocket struct {
	conn syscall.RawConn
	call func(fd uintptr)
	b    []byte
	n    int
	err  syscall.Errno
}

// newRawSocket returns nil for anything but a TCP connection without TLS.
func newRawSocket(c Conn) *rawSocket {
	if over, ok := c.(interface{ Plain() net.Conn }); ok {
		c = over.Plain()
	}
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return nil
	}
	conn, err := tcp.SyscallConn()
	if err != nil {
		return nil
	}
	s := &rawSocket{conn: conn}
	s.call = func(fd uintptr) { s.n, s.err = write(fd, s.b) }
	return s
}

// write writes as much of b as the socket takes, and returns how much that is.
func (s *rawSocket) write(b []byte) (n int, _ error) {
	defer func() { s.b = nil }()
	for n < len(b) {
		s.b = b[n:]
		if err := s.conn.Control(s.call); err != nil {
			return n, err
		}
		switch s.err {
		case 0:
			n += s.n
		case syscall.EINTR:
		case syscall.EAGAIN:
			return n, nil
		default:
			return n, &net.OpError{Op: "write", Net: "tcp", Err: os.NewSyscallError("write", s.err)}
		}
	}
	return n, nil
}
