package http

import (
	"errors"
	"net"
	nethttp "net/http"
	"net/netip"
	"strings"

	"watchtower/auth"
	"watchtower/bridge"
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
	for _, p := range ps {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// client returns the address that a request counts for: the connection's, or
// behind trusted proxies the last in X-Forwarded-For that is not one of them.
func (s *Server) client(r *nethttp.Request) netip.Addr {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{} // not a TCP connection: all such count as one
	}
	a := peer.Addr().Unmap().WithZone("")
	if !s.proxies.trust(a) {
		return a
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0 && s.proxies.trust(a); i-- {
		hop, ok := parseHop(strings.TrimSpace(hops[i]))
		if !ok {
			break // nobody to believe before this one
		}
		a = hop
	}
	return a
}

// remote is the client's address, with its port where no proxy is between.
func (s *Server) remote(r *nethttp.Request) net.Addr {
	at := s.client(r)
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || peer.Addr().Unmap().WithZone("") != at {
		return &net.TCPAddr{IP: at.AsSlice()}
	}
	return &net.TCPAddr{IP: at.AsSlice(), Port: int(peer.Port())}
}

// caller is who a request counts for at the gate.
func (s *Server) caller(r *nethttp.Request) auth.Caller {
	return auth.Caller{Via: Protocol, At: s.client(r), Forwarded: s.passedUnknownProxy(r)}
}

// passedUnknownProxy reports whether a request came by a proxy that is not trusted.
func (s *Server) passedUnknownProxy(r *nethttp.Request) bool {
	if r.Header.Get("X-Forwarded-For") == "" {
		return false
	}
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && !s.proxies.trust(peer.Addr().Unmap().WithZone(""))
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

// carriesToken reports whether a request carries the token of any sender, a short one
// of his, or that of an operator's session.
func (s *Server) carriesToken(r *nethttp.Request) bool {
	if text, field := carriedPass(r); field != "" {
		_, err := s.openPass(text, field)
		return err == nil
	}
	token := bearer(r)
	if token == "" {
		return false
	}
	if _, ok := s.hub.Tokens().Sender(token); ok {
		return true
	}
	if s.opts.Manages == nil || r.URL.Path != "/tokens" {
		return false
	}
	_, ok := s.opts.Manages(r)
	return ok
}

// authorize returns the sender that a request may act for. An id without the
// token that it needs is no guess, and does not count as a failure.
func (s *Server) authorize(r *nethttp.Request, id bridge.SenderID, err error) (*bridge.Sender, error) {
	if p := passOf(r); p != nil {
		return s.authorizePass(p, id, err)
	}
	if err != nil {
		return nil, err
	}
	token := bearer(r)
	if token == "" && !s.auth.Quiet() { // a token that is its own needs no gate: nobody guesses one
		if wait := s.auth.Waits(s.caller(r)); wait > 0 {
			return nil, s.tooMany(r, wait)
		}
	}
	sender, err := s.hub.Tokens().Authorize(id, token)
	if err == nil {
		know(r)
		return sender, s.mayAsk(sender)
	}
	var refusal *bridge.Error
	if errors.As(err, &refusal) && (token != "" || refusal.Code == bridge.InvalidSender) {
		return nil, denied{refusal}
	}
	return nil, err
}

// mayAsk counts a request of a sender, and refuses it if there were too many.
func (s *Server) mayAsk(sender *bridge.Sender) error {
	if s.requests.Take(sender.ID()) {
		return nil
	}
	return fault(bridge.TooManyRequests, "sender", "%d asks too often: at most %d requests a second (limits.sender_requests)", sender.ID(), s.opts.SenderRequests)
}
