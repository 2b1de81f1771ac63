package datagram

import (
	"encoding/binary"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// If a machine has several addresses, a datagram has to leave from the address that its
// receiver spoke to: the receiver takes it from no other. A control message (IP_PKTINFO,
// IPV6_PKTINFO) says at which address a datagram came. The same tells the system from
// which address one leaves.

// askWhere makes the system say at which address a datagram came. A socket for both
// families asks for both: for a datagram to a multicast or broadcast address, only the
// message of IPv4 has the address to answer from.
func (s *Socket) askWhere() error {
	var failed error
	err := s.raw.Control(func(fd uintptr) {
		if s.six {
			failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)
		}
		four := unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
		if !s.six {
			failed = four
		}
	})
	if err == nil {
		err = failed
	}
	s.anywhere = err == nil
	return err
}

const (
	header  = unix.SizeofCmsghdr
	four    = unix.SizeofInet4Pktinfo
	six     = unix.SizeofInet6Pktinfo
	arrival = 128 // bytes for control messages: both, and some more
)

// arrivedAt reads from control messages from which address to answer a datagram.
func arrivedAt(b []byte) (at netip.Addr) {
	for len(b) >= header {
		h := (*unix.Cmsghdr)(unsafe.Pointer(&b[0]))
		n := int(h.Len)
		if n < header || n > len(b) {
			return at
		}
		data := b[header:n]
		switch {
		case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_PKTINFO && len(data) >= four:
			return netip.AddrFrom4([4]byte(data[4:8])) // ipi_spec_dst, which is never a multicast or broadcast address
		case h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_PKTINFO && len(data) >= six:
			if a := netip.AddrFrom16([16]byte(data)).Unmap(); !a.IsMulticast() {
				at = a
			}
		}
		b = b[min(len(b), unix.CmsgSpace(n-header)):]
	}
	return at
}

// control has room for two control messages: the address from which a message leaves, and
// the size of the datagrams in it.
type control struct {
	_ [0]uint64 // a header is aligned
	b [64]byte
}

// source writes the first message, and returns its size. If the addresses are of
// different families, it writes none and returns 0.
func (c *control) source(from, to netip.Addr) int {
	if from.Is4() != to.Is4() || !from.IsValid() {
		return 0
	}
	if from.Is4() {
		data := c.begin(0, unix.IPPROTO_IP, unix.IP_PKTINFO, four)
		a := from.As4()
		copy(data[4:], a[:])
		return unix.CmsgSpace(four)
	}
	a := from.As16()
	copy(c.begin(0, unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, six), a[:])
	return unix.CmsgSpace(six)
}

// segments writes the second message at offset behind, and returns the size of both.
func (c *control) segments(behind, size int) int {
	binary.NativeEndian.PutUint16(c.begin(behind, unix.IPPROTO_UDP, unix.UDP_SEGMENT, 2), uint16(size))
	return behind + unix.CmsgSpace(2)
}

// begin writes a header, and returns the zeroed data behind it.
func (c *control) begin(at int, level, kind int32, size int) []byte {
	h := (*unix.Cmsghdr)(unsafe.Pointer(&c.b[at]))
	h.Level, h.Type = level, kind
	h.SetLen(unix.CmsgLen(size))
	data := c.b[at+unix.CmsgLen(0):][:size]
	clear(data)
	return data
}

// use makes the first n bytes the control messages of h; 0: there are none.
func (c *control) use(h *unix.Msghdr, n int) {
	h.Control = nil
	if n > 0 {
		h.Control = &c.b[0]
	}
	h.SetControllen(n)
}
