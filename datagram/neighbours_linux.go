package datagram

import (
	"encoding/binary"
	"net/netip"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Datagrams to a host of the local network that does not answer wait in the system for
// some three seconds. They count for the socket, so a few such hosts fill its buffer. The
// system's table of neighbours says which hosts these are.

// Neighbours is the system's table of the hosts on the local networks. It is used by one
// goroutine at a time.
type Neighbours struct {
	fd   int
	room []byte
}

// OpenNeighbours opens the table of the calling thread's network namespace.
func OpenNeighbours() (*Neighbours, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 100_000})
	return &Neighbours{fd: fd, room: make([]byte, 32<<10)}, nil
}

// Close closes the table.
func (n *Neighbours) Close() { _ = unix.Close(n.fd) }

// Each calls tell for every neighbour. Missing says that the system is looking for it, or
// has looked in vain.
func (n *Neighbours) Each(tell func(at netip.Addr, missing bool)) error {
	const request = unix.SizeofNlMsghdr + unix.SizeofNdMsg
	var ask [request]byte
	h := (*unix.NlMsghdr)(unsafe.Pointer(&ask[0]))
	h.Len, h.Type, h.Flags = request, unix.RTM_GETNEIGH, unix.NLM_F_REQUEST|unix.NLM_F_DUMP
	if err := unix.Sendto(n.fd, ask[:], 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	for {
		size, _, err := unix.Recvfrom(n.fd, n.room, 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		for b := n.room[:size]; len(b) >= unix.SizeofNlMsghdr; {
			length, kind := int(binary.NativeEndian.Uint32(b)), binary.NativeEndian.Uint16(b[4:])
			if kind == unix.NLMSG_DONE || kind == unix.NLMSG_ERROR || length < unix.SizeofNlMsghdr || length > len(b) {
				return nil
			}
			if kind == unix.RTM_NEWNEIGH && length >= request {
				state := binary.NativeEndian.Uint16(b[unix.SizeofNlMsghdr+8:])
				if at := neighbour(b[unix.SizeofNlMsghdr:length]); at.IsValid() {
					tell(at, state&(unix.NUD_INCOMPLETE|unix.NUD_FAILED) != 0)
				}
			}
			b = b[min(len(b), (length+3)&^3):]
		}
	}
}

// neighbour reads the address of a neighbour.
func neighbour(b []byte) netip.Addr {
	link := binary.NativeEndian.Uint32(b[4:])
	for b = b[unix.SizeofNdMsg:]; len(b) >= 4; {
		length, kind := int(binary.NativeEndian.Uint16(b)), binary.NativeEndian.Uint16(b[2:])
		if length < 4 || length > len(b) {
			break
		}
		if kind == unix.NDA_DST {
			at, _ := netip.AddrFromSlice(b[4:length])
			if at.IsLinkLocalUnicast() && at.Is6() {
				at = at.WithZone(strconv.FormatUint(uint64(link), 10))
			}
			return at
		}
		b = b[min(len(b), (length+3)&^3):]
	}
	return netip.Addr{}
}

// Queued is how many bytes of the socket's buffer hold datagrams that were not sent yet.
func (w *Writer) Queued() int {
	_ = w.socket.raw.Control(w.ask)
	return int(w.queued)
}

func (w *Writer) look(fd uintptr) {
	_, _, _ = unix.Syscall(unix.SYS_IOCTL, fd, unix.SIOCOUTQ, uintptr(unsafe.Pointer(&w.queued)))
}

// Buffer is the size of the socket's send buffer in bytes. The system's own bytes for
// each datagram count too.
func (s *Socket) Buffer() (n int) {
	_ = s.raw.Control(func(fd uintptr) { n, _ = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF) })
	return n
}
