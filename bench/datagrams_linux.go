package bench

import (
	"net"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The sizes of batches. Receivers are many, so theirs are small.
const (
	receiveBatch  = 16
	transmitBatch = 64
)

// mmsghdr is struct mmsghdr of the system.
type mmsghdr struct {
	header unix.Msghdr
	n      uint32 // bytes that came, or went
}

// receiver reads datagrams in batches. golang.org/x/net/ipv4 does that too, but
// makes an address for each, which here is always the server's.
type receiver struct {
	raw     syscall.RawConn
	headers [receiveBatch]mmsghdr
	vectors [receiveBatch]unix.Iovec
	room    []byte
	size    int
	n       int
	errno   syscall.Errno
	attempt func(fd uintptr) bool
}

// newReceiver is for datagrams of up to size bytes: what is longer is cut, and
// so found out.
func newReceiver(c *net.UDPConn, size int) (*receiver, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	r := &receiver{raw: raw, size: size + 1, room: make([]byte, receiveBatch*(size+1))}
	for i := range r.headers {
		r.vectors[i].Base = &r.room[i*r.size]
		r.vectors[i].SetLen(r.size)
		r.headers[i].header.Iov = &r.vectors[i]
		r.headers[i].header.SetIovlen(1)
	}
	r.attempt = r.try
	return r, nil
}

func (r *receiver) try(fd uintptr) bool {
	n, _, errno := syscall.Syscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&r.headers[0])), receiveBatch, unix.MSG_DONTWAIT, 0, 0)
	r.n, r.errno = int(n), errno
	return errno != syscall.EAGAIN && errno != syscall.EINTR
}

// read waits for datagrams and returns how many came.
func (r *receiver) read() (int, error) {
	for {
		if err := r.raw.Read(r.attempt); err != nil {
			return 0, err
		}
		switch r.errno {
		case 0:
			return r.n, nil
		case syscall.ECONNREFUSED: // an answer to what was sent before; nobody listened then
			continue
		}
		return 0, r.errno
	}
}

// at is a datagram of the last batch.
func (r *receiver) at(i int) []byte { return r.room[i*r.size:][:r.headers[i].n] }

// transmitter writes datagrams in batches.
type transmitter struct {
	raw     syscall.RawConn
	headers [transmitBatch]mmsghdr
	vectors [transmitBatch]unix.Iovec
	rooms   [transmitBatch][]byte
	n, sent int // waiting, and written of these
	errno   syscall.Errno
	attempt func(fd uintptr) bool
}

func newTransmitter(c *net.UDPConn) (*transmitter, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	t := &transmitter{raw: raw}
	t.attempt = t.try
	return t, nil
}

// add puts a copy of a datagram into the batch, and writes it once it is full.
func (t *transmitter) add(b []byte) error {
	room := append(t.rooms[t.n][:0], b...)
	t.rooms[t.n] = room
	t.vectors[t.n].Base = &room[0]
	t.vectors[t.n].SetLen(len(room))
	t.headers[t.n].header.Iov = &t.vectors[t.n]
	t.headers[t.n].header.SetIovlen(1)
	if t.n++; t.n == transmitBatch {
		return t.flush()
	}
	return nil
}

func (t *transmitter) try(fd uintptr) bool {
	n, _, errno := syscall.Syscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(&t.headers[t.sent])), uintptr(t.n-t.sent), unix.MSG_DONTWAIT, 0, 0)
	if t.errno = errno; errno == 0 {
		t.sent += int(n)
	}
	return errno != syscall.EAGAIN && errno != syscall.EINTR
}

// flush writes what waits, or forgets it with an error.
func (t *transmitter) flush() error {
	defer func() { t.n = 0 }()
	for t.sent = 0; t.sent < t.n; {
		if err := t.raw.Write(t.attempt); err != nil {
			return err
		}
		if t.errno != 0 {
			return t.errno
		}
	}
	return nil
}
