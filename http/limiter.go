package http

import (
	"errors"
	"fmt"
	"math"
	nethttp "net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"watchtower/bridge"
)

// limiter bounds how often something happens, by whom it is done: a bucket of
// tokens for each, one taken every time. Who has no bucket has a full one.
type limiter[Who comparable] struct {
	opts LimitOptions
	now  func() time.Time

	mu      sync.Mutex
	buckets map[Who]*bucket
}

type bucket struct {
	tokens float64
	at     time.Time // when tokens was right
}

func newLimiter[Who comparable](opts LimitOptions, now func() time.Time) *limiter[Who] {
	return &limiter[Who]{opts: opts, now: now, buckets: map[Who]*bucket{}}
}

// allows reports whether there is a token, and if not, in how many seconds there
// will be.
func (l *limiter[Who]) allows(who Who) (ok bool, wait int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.buckets[who]
	if b == nil {
		return true, 0
	}
	tokens := l.refill(b)
	if tokens >= float64(l.opts.Burst) {
		delete(l.buckets, who) // a full bucket says nothing
	}
	if tokens < 1 {
		missing := time.Duration((1 - tokens) * float64(l.opts.Every))
		return false, max(1, int(math.Ceil(missing.Seconds())))
	}
	return true, 0
}

// take takes a token. It reports false if there is none.
func (l *limiter[Who]) take(who Who) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.buckets[who]
	if b == nil {
		l.makeRoom()
		b = &bucket{tokens: float64(l.opts.Burst), at: l.now()}
		l.buckets[who] = b
	}
	if l.refill(b) < 1 {
		return false
	}
	b.tokens--
	return true
}

func (l *limiter[Who]) refill(b *bucket) float64 {
	now := l.now()
	gained := float64(now.Sub(b.at)) / float64(l.opts.Every)
	b.tokens = min(float64(l.opts.Burst), b.tokens+max(0, gained))
	b.at = now
	return b.tokens
}

// evictionSample is how many are looked at to forget one.
const evictionSample = 64

// makeRoom forgets the one of a sample that has taken least.
func (l *limiter[Who]) makeRoom() {
	if len(l.buckets) < l.opts.Most {
		return
	}
	var best Who
	most, seen := -1.0, 0
	for who, b := range l.buckets {
		if tokens := l.refill(b); tokens > most {
			best, most = who, tokens
		}
		if seen++; seen == evictionSample {
			break
		}
	}
	delete(l.buckets, best)
}

// proxies are the addresses whose X-Forwarded-For is believed.
type proxies []netip.Prefix

func parseProxies(list []string) (proxies, error) {
	var out proxies
	for _, text := range list {
		p, err := parsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("http.trusted_proxies: %q is neither an address nor a CIDR", text)
		}
		out = append(out, p)
	}
	return out, nil
}

// parsePrefix reads a CIDR, or an address as the CIDR of itself alone.
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
// One client commands a /64 of IPv6, so that is what counts.
func (s *Server) client(r *nethttp.Request) netip.Prefix {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Prefix{} // not a TCP connection: all such count as one
	}
	a := peer.Addr().Unmap().WithZone("")
	if !s.proxies.trust(a) {
		return subnet(a)
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0 && s.proxies.trust(a); i-- {
		hop, ok := parseHop(strings.TrimSpace(hops[i]))
		if !ok {
			break // nobody to believe before this one
		}
		a = hop
	}
	return subnet(a)
}

// subnet is what a client is known by: its address, or of IPv6 what one of them is
// given.
func subnet(a netip.Addr) netip.Prefix {
	bits := a.BitLen()
	if a.Is6() {
		bits = 64
	}
	return netip.PrefixFrom(a, bits).Masked()
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

// carriesToken reports whether a request carries the token of any sender.
func (s *Server) carriesToken(r *nethttp.Request) bool {
	token := bearer(r)
	if token == "" {
		return false
	}
	_, ok := s.hub.SenderByToken(token)
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
	sender, err := s.hub.AuthorizeWeb(id, bearer(r))
	if err == nil {
		know(r)
		return sender, s.mayAsk(sender)
	}
	var refusal *bridge.Error
	if errors.As(err, &refusal) && (bearer(r) != "" || refusal.Code == bridge.InvalidSender) {
		return nil, denied{refusal}
	}
	return nil, err
}

// mayAsk counts a request of a sender, and refuses it if there were too many.
func (s *Server) mayAsk(sender *bridge.Sender) error {
	if s.requests.take(sender.ID()) {
		return nil
	}
	return fault(tooManyRequests, "sender", "%d asks too often: at most %d requests a second (limits.sender_requests)", sender.ID(), s.opts.Requests.Burst)
}
