package mdns

import (
	"cmp"
	"net"
	"net/netip"
	"slices"
)

// linkID names one family of addresses of one interface.
type linkID struct {
	index int // of the interface
	v6    bool
}

// place is what an interface has.
type place struct {
	net.Interface
	addresses []netip.Addr   // without zones; in order
	networks  []netip.Prefix // who is reached without a router
}

// mostAddresses is how many addresses of an interface count. Privacy extensions give it many.
const mostAddresses = 16

// places returns the interfaces on which multicast DNS makes sense: those that are up and
// have neighbours.
func places() ([]place, error) {
	all, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	var out []place
	for _, i := range all {
		if i.Flags&net.FlagUp == 0 || i.Flags&net.FlagMulticast == 0 || i.Flags&(net.FlagLoopback|net.FlagPointToPoint) != 0 {
			continue
		}
		addrs, err := i.Addrs()
		if err != nil {
			continue // it has gone
		}
		p := place{Interface: i}
		for _, a := range addrs {
			n, ok := a.(*net.IPNet)
			if !ok {
				continue
			}
			ip, ok := netip.AddrFromSlice(n.IP)
			ones, _ := n.Mask.Size()
			if ip = ip.Unmap(); !ok || ip.IsUnspecified() || ip.IsMulticast() || ip.IsLoopback() {
				continue
			}
			p.addresses = append(p.addresses, ip)
			p.networks = append(p.networks, netip.PrefixFrom(ip, ones).Masked())
		}
		if len(p.addresses) == 0 {
			continue
		}
		slices.SortFunc(p.addresses, func(a, b netip.Addr) int {
			return cmp.Or(cmp.Compare(rank(a), rank(b)), a.Compare(b))
		})
		p.addresses = p.addresses[:min(len(p.addresses), mostAddresses)]
		out = append(out, p)
	}
	return out, nil
}

// rank puts the addresses first that clients use best.
func rank(a netip.Addr) int {
	switch {
	case a.Is4() && !a.IsLinkLocalUnicast():
		return 0
	case !a.IsLinkLocalUnicast():
		return 1
	}
	return 2
}

// neighbour reports whether an address is reached without a router.
func (p place) neighbour(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	return a.Is6() && a.IsLinkLocalUnicast() || slices.ContainsFunc(p.networks, func(n netip.Prefix) bool { return n.Contains(a) })
}

// reached returns the addresses of an interface to which a service listens.
func (p place) reached(listen netip.Addr) (out []netip.Addr) {
	for _, a := range p.addresses {
		if listen.IsUnspecified() && (listen.Is6() || a.Is4()) || listen.Unmap().WithZone("") == a {
			out = append(out, a)
		}
	}
	return out
}
