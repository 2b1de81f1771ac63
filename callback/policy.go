package callback

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"unicode/utf8"

	"code.dny.dev/ssrf"

	"watchtower/bridge"
)

// policy says which addresses callbacks may reach. It checks a URL at the join and the
// address at each dial, since a name may resolve to another address by then.
type policy struct {
	allowed    atomic.Pointer[allowList]
	publicOnly bool
	listeners  func() []netip.AddrPort
	resolver   *net.Resolver // nil: the system's
}

func newPolicy(opts Options) (*policy, error) {
	p := &policy{publicOnly: opts.PublicOnly, listeners: opts.Listeners, resolver: opts.Resolver}
	if p.listeners == nil {
		p.listeners = func() []netip.AddrPort { return nil }
	}
	allowed, err := newAllowList(opts.Allow)
	p.allowed.Store(allowed)
	return p, err
}

// allowList are hosts and addresses that are always open.
type allowList struct {
	hosts    map[string]struct{} // by name
	prefixes []netip.Prefix      // by address
}

func newAllowList(entries []string) (*allowList, error) {
	l := &allowList{hosts: map[string]struct{}{}}
	for _, entry := range entries {
		prefix, err := parsePrefix(strings.Trim(entry, "[]"))
		switch {
		case err == nil:
			l.prefixes = append(l.prefixes, prefix)
		case entry == "" || strings.ContainsAny(entry, "/:@ "):
			return nil, fmt.Errorf("callbacks.allow: %q is neither a host name, an address nor a CIDR", entry)
		default:
			l.hosts[hostKey(entry)] = struct{}{}
		}
	}
	return l, nil
}

func (p *policy) openHost(host string) bool {
	_, open := p.allowed.Load().hosts[hostKey(host)]
	return open
}

// hostKey normalizes a host name for comparison.
func hostKey(host string) string { return strings.TrimSuffix(strings.ToLower(host), ".") }

// checkURL returns why a callback URL is refused; nil: it is not. It resolves the host's
// name: one open address is enough, since dial uses only open ones.
func (p *policy) checkURL(ctx context.Context, text string) error {
	u, port, err := p.parseURL(text)
	if err != nil {
		return err
	}
	host := u.Hostname()
	if a, err := netip.ParseAddr(host); err == nil {
		return p.check(host, netip.AddrPortFrom(a, port))
	}
	if p.openHost(host) {
		return nil // even if its name has no address now
	}
	ctx, cancel := context.WithTimeout(ctx, resolveFor)
	defer cancel()
	addrs, err := p.resolver.LookupNetIP(ctx, "ip", host)
	if err != nil || len(addrs) == 0 {
		return fault(InvalidURL, "callback_url", "the host %q has no address: check its name, or give its IP address", bridge.Shorten(host))
	}
	var refused error
	for _, a := range addrs {
		err := p.check(host, netip.AddrPortFrom(a, port))
		if err == nil {
			return nil
		}
		if refused == nil {
			refused = err
		}
	}
	return refused
}

// parsePrefix reads a CIDR, or an address as a CIDR of one address.
func parsePrefix(text string) (netip.Prefix, error) {
	if !strings.Contains(text, "/") {
		a, err := netip.ParseAddr(text)
		if err != nil {
			return netip.Prefix{}, err
		}
		a = a.Unmap().WithZone("")
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(text)
	if err == nil && p.Addr().Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p.Masked(), err
}

// parseURL checks a URL except for its address.
func (p *policy) parseURL(text string) (*url.URL, uint16, error) {
	if len(text) > urlBytes {
		return nil, 0, refuseURL("has %d bytes, the limit is %d", len(text), urlBytes)
	}
	u, err := url.Parse(text)
	switch {
	case err != nil || !utf8.ValidString(text):
		return nil, 0, refuseURL("%q is not a URL: give one such as http://192.168.1.20:9000/messages", bridge.Shorten(text))
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, 0, refuseURL("%q does not begin with http:// or https://", bridge.Shorten(text))
	case u.Hostname() == "":
		return nil, 0, refuseURL("%q has no host", bridge.Shorten(text))
	case u.User != nil:
		// The URL is not repeated: it holds a password.
		return nil, 0, refuseURL("holds a user name or password: leave it out, and put a secret into the path or query")
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return nil, 0, refuseURL("the port %s is not from 1 to 65535", bridge.Shorten(port))
	}
	return u, uint16(n), nil
}

func refuseURL(format string, args ...any) *bridge.Error {
	return fault(InvalidURL, "callback_url", format, args...)
}

// dial resolves the host and connects to an address that the policy leaves open.
func (p *policy) dial(ctx context.Context, network, address string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	d := net.Dialer{Resolver: p.resolver, Control: func(_, resolved string, _ syscall.RawConn) error {
		ap, err := netip.ParseAddrPort(resolved)
		if err != nil {
			return err
		}
		return p.check(host, ap)
	}}
	return d.DialContext(ctx, network, address)
}

// check returns why an address that host resolved to is closed; nil: it is open.
func (p *policy) check(host string, ap netip.AddrPort) error {
	a := ap.Addr().Unmap().WithZone("")
	if p.openHost(host) || p.opened(a) {
		return nil
	}
	inner := embedded(a)
	why := closed(a)
	if inner != a && why == "" {
		if p.opened(inner) {
			return nil
		}
		why = closed(inner)
	}
	if why == "" && p.publicOnly && public.SafeAddr(inner) != nil {
		why = "not a public address, and callbacks.public_only is set"
	}
	if why == "" && p.isOwn(inner, ap.Port()) {
		why = "this gateway's own"
	}
	if why == "" {
		return nil
	}
	shown := a.String()
	if hostKey(host) != shown {
		shown = fmt.Sprintf("%s (%s)", bridge.Shorten(host), a)
	}
	return refuseURL("%s is %s: to allow it, start the gateway with --allow-callbacks %s (callbacks.allow)", shown, why, a)
}

func (p *policy) opened(a netip.Addr) bool {
	for _, prefix := range p.allowed.Load().prefixes {
		if prefix.Contains(a) {
			return true
		}
	}
	return false
}

type closedRange struct {
	prefix netip.Prefix
	why    string
}

// alwaysClosed are the ranges that are closed unless they are allowed.
var alwaysClosed = ranges(
	"169.254.169.254/32", "a cloud metadata address",
	"168.63.129.16/32", "a cloud metadata address",
	"100.100.100.200/32", "a cloud metadata address",
	"192.0.0.192/32", "a cloud metadata address",
	"fd00:ec2::254/128", "a cloud metadata address",
	"64:ff9b:1::/48", "an address that a translator makes another of", // to an unknown address (RFC 8215)
	"127.0.0.0/8", "a loopback address",
	"::1/128", "a loopback address",
	"0.0.0.0/8", "an unspecified address", // on Linux 0.0.0.0 reaches the machine itself
	"::/128", "an unspecified address",
	"169.254.0.0/16", "a link-local address",
	"fe80::/10", "a link-local address",
	"224.0.0.0/4", "a multicast address",
	"ff00::/8", "a multicast address",
	"255.255.255.255/32", "a broadcast address",
)

// public accepts addresses outside the IANA special-purpose registries. It applies too if
// callbacks.public_only is set.
var public = ssrf.New(ssrf.WithAnyPort())

func ranges(pairs ...string) []closedRange {
	var out []closedRange
	for i := 0; i < len(pairs); i += 2 {
		out = append(out, closedRange{netip.MustParsePrefix(pairs[i]), pairs[i+1]})
	}
	return out
}

// closed returns why an address is always closed; "": it is not.
func closed(a netip.Addr) string {
	for _, r := range alwaysClosed {
		if r.prefix.Contains(a) {
			return r.why
		}
	}
	return ""
}

// isOwn reports whether one of the gateway's listeners is at an address.
func (p *policy) isOwn(a netip.Addr, port uint16) bool {
	for _, own := range p.listeners() {
		if own.Port() != port {
			continue
		}
		switch listens := own.Addr().Unmap().WithZone(""); {
		case listens == a:
			return true
		case listens.IsUnspecified() && isLocal(a):
			return true
		}
	}
	return false
}

// isLocal reports whether an address is this machine's, or the system does not tell.
func isLocal(a netip.Addr) bool {
	addrs, err := net.InterfaceAddrs()
	for _, local := range addrs {
		if ipnet, ok := local.(*net.IPNet); ok {
			if b, ok := netip.AddrFromSlice(ipnet.IP); ok && b.Unmap() == a {
				return true
			}
		}
	}
	return err != nil
}

var (
	nat64  = netip.MustParsePrefix("64:ff9b::/96")
	sixTo4 = netip.MustParsePrefix("2002::/16")
	teredo = netip.MustParsePrefix("2001::/32")
	compat = netip.MustParsePrefix("::/96")
	siit   = netip.MustParsePrefix("::ffff:0:0:0/96") // RFC 7915
)

// embedded returns the IPv4 address inside an IPv6 address, or the address itself.
func embedded(a netip.Addr) netip.Addr {
	a = a.Unmap()
	if a.Is4() {
		return a
	}
	b := a.As16()
	switch {
	case nat64.Contains(a), siit.Contains(a), compat.Contains(a) && !a.IsUnspecified() && !a.IsLoopback():
		return netip.AddrFrom4([4]byte(b[12:16]))
	case sixTo4.Contains(a):
		return netip.AddrFrom4([4]byte(b[2:6]))
	case teredo.Contains(a): // the client's address, inverted (RFC 4380, section 4)
		return netip.AddrFrom4([4]byte{^b[12], ^b[13], ^b[14], ^b[15]})
	}
	return a
}
