package http

import (
	"net"
	nethttp "net/http"
	"net/netip"
	"slices"
	"strings"

	"watchtower/auth"
)

// proxies are the addresses whose X-Forwarded-For is believed.
type proxies []netip.Prefix

// newProxies makes IPv4 of what is IPv4 in IPv6, as addresses of clients are.
func newProxies(list []netip.Prefix) (out proxies) {
	for _, p := range list {
		if p.Addr().Is4In6() && p.Bits() >= 96 {
			p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96).Masked()
		}
		out = append(out, p)
	}
	return out
}

func (ps proxies) trust(a netip.Addr) bool {
	return slices.ContainsFunc(ps, func(p netip.Prefix) bool { return p.Contains(a) })
}

// peerOf is where a request's connection comes from; not valid if that is none of TCP: all
// such count as one.
func peerOf(r *nethttp.Request) netip.AddrPort {
	peer, _ := netip.ParseAddrPort(r.RemoteAddr)
	return netip.AddrPortFrom(peer.Addr().Unmap().WithZone(""), peer.Port())
}

// client returns the address that a request counts for: the connection's, or
// behind trusted proxies the last in X-Forwarded-For that is not one of them.
func (ps proxies) client(r *nethttp.Request) netip.Addr {
	a := peerOf(r).Addr()
	if !ps.trust(a) {
		return a
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0 && ps.trust(a); i-- {
		hop, ok := parseHop(strings.TrimSpace(hops[i]))
		if !ok {
			break // nobody to believe before this one
		}
		a = hop
	}
	return a
}

// remote is the client's address, with its port where no proxy is between.
func (ps proxies) remote(r *nethttp.Request) net.Addr {
	at, peer := ps.client(r), peerOf(r)
	if peer.Addr() != at {
		return &net.TCPAddr{IP: at.AsSlice()}
	}
	return &net.TCPAddr{IP: at.AsSlice(), Port: int(peer.Port())}
}

// caller is who a request counts for at the gate.
func (ps proxies) caller(r *nethttp.Request) auth.Caller {
	return auth.Caller{Via: Protocol, At: ps.client(r), Forwarded: ps.passedUnknownProxy(r)}
}

// passedUnknownProxy reports whether a request came by a proxy that is not trusted.
func (ps proxies) passedUnknownProxy(r *nethttp.Request) bool {
	peer := peerOf(r).Addr()
	return r.Header.Get("X-Forwarded-For") != "" && peer.IsValid() && !ps.trust(peer)
}

// parseHop reads an address of X-Forwarded-For, with or without a port.
func parseHop(text string) (netip.Addr, bool) {
	if ap, err := netip.ParseAddrPort(text); err == nil {
		return ap.Addr().Unmap().WithZone(""), true
	}
	a, err := netip.ParseAddr(strings.Trim(text, "[]"))
	return a.Unmap().WithZone(""), err == nil
}

// bearer returns the token that a request carries, or "".
func bearer(r *nethttp.Request) string {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}
