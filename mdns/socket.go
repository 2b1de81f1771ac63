package mdns

import (
	"errors"
	"net"
	"net/netip"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

var (
	group4 = netip.AddrPortFrom(netip.MustParseAddr("224.0.0.251"), port)
	group6 = netip.AddrPortFrom(netip.MustParseAddr("ff02::fb"), port)
)

func groupOf(v6 bool) netip.AddrPort {
	if v6 {
		return group6
	}
	return group4
}

// socket is one of a family, with which a program talks on all interfaces.
type socket struct {
	v6    bool
	conn  *net.UDPConn
	four  *ipv4.PacketConn
	six   *ipv6.PacketConn
	links map[int]net.Interface // whose messages it gets, by index
}

// openSocket opens a socket at an address. Given a group, it listens on the group's port,
// which other programs may have too.
func openSocket(v6 bool, address netip.AddrPort) (*socket, error) {
	network := map[bool]string{false: "udp4", true: "udp6"}[v6]
	pc, err := net.ListenPacket(network, address.String())
	if err != nil {
		return nil, err
	}
	s := &socket{v6: v6, conn: pc.(*net.UDPConn), links: map[int]net.Interface{}}
	// Where a system has none of these, messages are told apart by where they come from.
	if v6 {
		s.six = ipv6.NewPacketConn(pc)
		_ = s.six.SetControlMessage(ipv6.FlagInterface, true)
		_ = s.six.SetMulticastHopLimit(255)
		_ = s.six.SetHopLimit(255)
	} else {
		s.four = ipv4.NewPacketConn(pc)
		_ = s.four.SetControlMessage(ipv4.FlagInterface, true)
		_ = s.four.SetMulticastTTL(255)
		_ = s.four.SetTTL(255)
	}
	return s, nil
}

func (s *socket) group() net.Addr { return net.UDPAddrFromAddrPort(groupOf(s.v6)) }

// follow joins the group on these interfaces, and leaves it on others. It returns the indexes
// of those that it joined.
func (s *socket) follow(now []net.Interface) (joined []int, err error) {
	var faults []error
	there := map[int]bool{}
	for _, i := range now {
		there[i.Index] = true
		if _, ok := s.links[i.Index]; ok {
			continue
		}
		var err error
		if s.v6 {
			err = s.six.JoinGroup(&i, s.group())
		} else {
			err = s.four.JoinGroup(&i, s.group())
		}
		if err != nil {
			faults = append(faults, err)
			continue
		}
		s.links[i.Index] = i
		joined = append(joined, i.Index)
	}
	for index, i := range s.links {
		if there[index] {
			continue
		}
		if s.v6 {
			_ = s.six.LeaveGroup(&i, s.group()) // fails if the interface is gone
		} else {
			_ = s.four.LeaveGroup(&i, s.group())
		}
		delete(s.links, index)
	}
	return joined, errors.Join(faults...)
}

// send sends to the group on an interface, or to one address.
func (s *socket) send(on net.Interface, to netip.AddrPort, b []byte) error {
	if to != everybody {
		_, err := s.conn.WriteToUDPAddrPort(b, to)
		return err
	}
	var err error
	if s.v6 {
		if err = s.six.SetMulticastInterface(&on); err == nil {
			_, err = s.six.WriteTo(b, nil, s.group())
		}
	} else {
		if err = s.four.SetMulticastInterface(&on); err == nil {
			_, err = s.four.WriteTo(b, nil, s.group())
		}
	}
	return err
}

// read reads a message. The index is that of the interface to which it came; 0: the system
// does not say.
func (s *socket) read(b []byte) (n, index int, from netip.AddrPort, err error) {
	var at net.Addr
	if s.v6 {
		var cm *ipv6.ControlMessage
		if n, cm, at, err = s.six.ReadFrom(b); cm != nil {
			index = cm.IfIndex
		}
	} else {
		var cm *ipv4.ControlMessage
		if n, cm, at, err = s.four.ReadFrom(b); cm != nil {
			index = cm.IfIndex
		}
	}
	if u, ok := at.(*net.UDPAddr); ok {
		from = u.AddrPort()
		from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
	}
	return n, index, from, err
}
