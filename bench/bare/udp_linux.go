package bare

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"watchtower/wire"
)

const (
	batch        = 64
	socketBuffer = 4 << 20
)

// UDP is basic frames over UDP, on one goroutine and one socket.
type UDP struct {
	members *members[netip.AddrPort]
	raw     syscall.RawConn
	in      datagrams
	out     datagrams
	n, sent int // datagrams in out, and how many of these were written
	errno   syscall.Errno
	got     int
}

// mmsghdr is struct mmsghdr of the system.
type mmsghdr struct {
	header unix.Msghdr
	n      uint32
}

// datagrams is a batch of datagrams from or to IPv4 addresses.
type datagrams struct {
	headers [batch]mmsghdr
	vectors [batch]unix.Iovec
	names   [batch]unix.RawSockaddrInet4
}

func (d *datagrams) set(i int, b []byte) {
	d.vectors[i].Base = &b[0]
	d.vectors[i].SetLen(len(b))
	h := &d.headers[i].header
	h.Iov, h.Name, h.Namelen = &d.vectors[i], (*byte)(unsafe.Pointer(&d.names[i])), unix.SizeofSockaddrInet4
	h.SetIovlen(1)
}

// Serve serves a socket of IPv4 until ctx ends, and closes it.
func (u *UDP) Serve(ctx context.Context, c *net.UDPConn) (err error) {
	defer func() { _ = c.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	u.members = newMembers[netip.AddrPort]()
	_, _ = c.SetReadBuffer(socketBuffer), c.SetWriteBuffer(socketBuffer) // as far as the system allows
	if u.raw, err = c.SyscallConn(); err != nil {
		return err
	}
	room := make([]byte, batch*wire.MaxDatagram)
	for {
		for i := range batch {
			u.in.set(i, room[i*wire.MaxDatagram:][:wire.MaxDatagram])
		}
		if err := u.raw.Read(u.receive); err != nil || u.errno != 0 {
			if errors.Is(err, net.ErrClosed) {
				return nil
			}
			if err == nil {
				err = u.errno
			}
			return err
		}
		for i := range u.got {
			u.execute(room[i*wire.MaxDatagram:][:u.in.headers[i].n], u.in.names[i])
		}
		u.flush()
	}
}

func (u *UDP) receive(fd uintptr) bool {
	n, _, errno := syscall.Syscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&u.in.headers[0])), batch, unix.MSG_DONTWAIT, 0, 0)
	u.got, u.errno = int(n), errno
	return errno != syscall.EAGAIN && errno != syscall.EINTR
}

func (u *UDP) transmit(fd uintptr) bool {
	n, _, errno := syscall.Syscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(&u.out.headers[u.sent])), uintptr(u.n-u.sent), unix.MSG_DONTWAIT, 0, 0)
	if u.errno = errno; errno == 0 {
		u.sent += int(n)
	}
	return errno != syscall.EAGAIN && errno != syscall.EINTR
}

func (u *UDP) flush() {
	for u.sent = 0; u.sent < u.n; {
		if err := u.raw.Write(u.transmit); err != nil {
			break // closed
		}
		if u.errno != 0 {
			u.sent++ // this one cannot be sent
		}
	}
	u.n = 0
}

func (u *UDP) execute(datagram []byte, from unix.RawSockaddrInet4) {
	r, err := wire.Parse(datagram)
	if err != nil {
		return
	}
	at := netip.AddrPortFrom(netip.AddrFrom4(from.Addr), ntohs(from.Port))
	switch r.Op {
	case wire.OpRegister, wire.OpKey:
		u.send(wire.AppendAnswer(nil, u.members.register(at)), at)
	case wire.OpJoin:
		u.members.join(r.Channel, at)
		u.send(wire.AppendAnswer(nil, r.Channel), at)
	case wire.OpQuit:
		u.members.leave(r.Channel, at)
		u.send(wire.AppendAnswer(nil, r.Channel), at)
	case wire.OpMessage:
		frame := encode(wire.Delivery{Sender: r.ID, Channel: r.Channel, Data: r.Data})
		for _, to := range u.members.on(r.Channel) {
			u.send(frame, to)
		}
	case wire.OpSend:
		frame := encode(wire.Delivery{Sender: r.ID, Channel: r.Channel, Type: 1, Data: r.Data})
		for i := range r.Receivers.Len() {
			if to := u.members.with(r.Receivers.At(i)); to.IsValid() {
				u.send(frame, to)
			}
		}
	}
}

// encode returns the frame of a delivery. All its receivers share it.
func encode(d wire.Delivery) []byte {
	return wire.AppendDelivery(make([]byte, 0, wire.DeliveryHeader+len(d.Data)), d)
}

func (u *UDP) send(b []byte, to netip.AddrPort) {
	u.out.names[u.n] = unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: to.Addr().As4(), Port: ntohs(to.Port())}
	u.out.set(u.n, b)
	if u.n++; u.n == batch {
		u.flush()
	}
}

// ntohs swaps a port's bytes, to or from network order.
func ntohs(n uint16) uint16 {
	b := (*[2]byte)(unsafe.Pointer(&n))
	return uint16(b[0])<<8 | uint16(b[1])
}
