package http

import (
	"net"
	nethttp "net/http"
	"net/netip"
	"slices"
	"strings"

	"watchtower/auth"
)

// proxies are the addresses whose X-Forwarded-For is trusted.
type proxies []netip.Prefix

// newProxies unmaps IPv4 in IPv6, as is done with clients' addresses.
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

// peerOf returns the address of a request's connection. It is invalid if that is not TCP:
// all such requests count as one client.
func peerOf(r *nethttp.Request) netip.AddrPort {
	peer, _ := netip.ParseAddrPort(r.RemoteAddr)
	return netip.AddrPortFrom(peer.Addr().Unmap().WithZone(""), peer.Port())
}

// client returns the client's address: the connection's, or behind trusted proxies the
// last one in X-Forwarded-For that is not a trusted proxy.
func (ps proxies) client(r *nethttp.Request) netip.Addr {
	a := peerOf(r).Addr()
	if !ps.trust(a) {
		return a
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0 && ps.trust(a); i-- {
		hop, ok := parseHop(strings.TrimSpace(hops[i]))
		if !ok {
			break // entries before this one are not trusted
		}
		a = hop
	}
	return a
}

// remote returns the client's address, with its port if there is no trusted proxy.
func (ps proxies) remote(r *nethttp.Request) net.Addr {
	at, peer := ps.client(r), peerOf(r)
	if peer.Addr() != at {
		return &net.TCPAddr{IP: at.AsSlice()}
	}
	return &net.TCPAddr{IP: at.AsSlice(), Port: int(peer.Port())}
}

// caller returns the caller that a request counts for at the gate.
func (ps proxies) caller(r *nethttp.Request) auth.Caller {
	return auth.Caller{Via: Protocol, At: ps.client(r), Forwarded: ps.passedUnknownProxy(r)}
}

// passedUnknownProxy reports whether a request came through an untrusted proxy.
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

// bearer returns the token of the Authorization header, or "".
func bearer(r *nethttp.Request) string {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}
