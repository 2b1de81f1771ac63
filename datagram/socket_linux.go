package datagram

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Socket is a UDP socket, with what has to be known about it.
type Socket struct {
	raw      syscall.RawConn
	six      bool // its addresses are IPv6, with IPv4 mapped into them
	merges   bool // the system knows UDP_SEGMENT
	anywhere bool // it is bound to no address, so the system tells at which one a datagram came
	locals   locals
}

// Of returns a Socket for c, which the caller still owns.
func Of(c *net.UDPConn) (*Socket, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	s := &Socket{raw: raw}
	var domain int
	var failed error
	err = s.raw.Control(func(fd uintptr) {
		domain, failed = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_DOMAIN)
		_, unknown := unix.GetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_SEGMENT)
		s.merges = unknown == nil
	})
	s.six = domain == unix.AF_INET6
	if at, ok := c.LocalAddr().(*net.UDPAddr); ok && at.IP.IsUnspecified() && err == nil && failed == nil {
		err = s.askWhere()
	}
	return s, errors.Join(err, failed)
}

// mmsghdr is struct mmsghdr of the system.
type mmsghdr struct {
	header unix.Msghdr
	n      uint32 // bytes that came, or went
}

// name is an address as the system has it, with room for either family.
type name = unix.RawSockaddrInet6

// set makes n an address of the socket's family, and returns its length.
func (s *Socket) set(n *name, to netip.AddrPort) uint32 {
	port := networkOrder(to.Port())
	if !s.six {
		*(*unix.RawSockaddrInet4)(unsafe.Pointer(n)) = unix.RawSockaddrInet4{Family: unix.AF_INET, Port: port, Addr: to.Addr().As4()}
		return unix.SizeofSockaddrInet4
	}
	*n = unix.RawSockaddrInet6{Family: unix.AF_INET6, Port: port, Addr: to.Addr().As16(), Scope_id: scope(to.Addr().Zone())}
	return unix.SizeofSockaddrInet6
}

// get returns the address that the system wrote. An IPv4 address is never mapped.
func get(n *name) netip.AddrPort {
	switch n.Family {
	case unix.AF_INET:
		four := (*unix.RawSockaddrInet4)(unsafe.Pointer(n))
		return netip.AddrPortFrom(netip.AddrFrom4(four.Addr), networkOrder(four.Port))
	case unix.AF_INET6:
		addr := netip.AddrFrom16(n.Addr).Unmap()
		if n.Scope_id != 0 {
			addr = addr.WithZone(strconv.FormatUint(uint64(n.Scope_id), 10))
		}
		return netip.AddrPortFrom(addr, networkOrder(n.Port))
	}
	return netip.AddrPort{}
}

// scope returns the interface number of a zone, which is a number or a name; 0: none.
func scope(zone string) uint32 {
	if zone == "" {
		return 0
	}
	if n, err := strconv.ParseUint(zone, 10, 32); err == nil {
		return uint32(n)
	}
	if i, err := net.InterfaceByName(zone); err == nil {
		return uint32(i.Index)
	}
	return 0
}

// networkOrder turns a port's bytes to the network's order, or back.
func networkOrder(port uint16) uint16 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], port)
	return binary.NativeEndian.Uint16(b[:])
}
