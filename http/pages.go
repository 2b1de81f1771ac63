package http

import (
	"net"
	nethttp "net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/gorilla/websocket"

	"watchtower/bridge"
)

// A browser runs foreign pages inside the house's network, and their requests come from
// there. So every request is checked first, before its body is read:
//
//   - a page of another origin (RFC 6454) is let in only if http.cors_origins lists it;
//   - a gateway without a secret key answers only to names that nobody outside can own: a
//     page that points its own name here (DNS rebinding) is refused;
//   - a WebSocket whose Upgrade a proxy removed gets an error, since the rest is an
//     ordinary GET, which would join.
//
// With a secret key any name is accepted: a rebound page has neither the key nor a token.

// The paths of monitoring. They stay open to a client with too many failures.
const (
	healthPath  = "/healthz"
	readyPath   = "/readyz"
	metricsPath = "/metrics"
)

// houseDomains are the name suffixes that public name servers do not resolve.
var houseDomains = []string{".localhost", ".local", ".lan", ".home.arpa", ".internal", ".fritz.box"}

var noReferrer = []string{"no-referrer"}

// keepOut refuses requests that foreign pages may not make.
func (s *Server) keepOut(next nethttp.Handler) nethttp.Handler {
	return nethttp.HandlerFunc(func(w nethttp.ResponseWriter, r *nethttp.Request) {
		w.Header()["Referrer-Policy"] = noReferrer
		refusal := s.pageFault(r)
		if refusal == nil {
			next.ServeHTTP(w, r)
			return
		}
		var err error = refusal
		switch {
		case r.ContentLength != 0:
			err = hangUp{refusal} // the body stays unread
		case refusal.Code == upgradeLost:
			w.Header().Set("Upgrade", "websocket") // RFC 9110, 15.5.22
			w.Header().Set("Connection", "Upgrade")
		}
		s.fail(w, r, err)
	})
}

// pageFault returns why a request is refused; nil: it is not.
func (s *Server) pageFault(r *nethttp.Request) *bridge.Error {
	monitoring := r.URL.Path == healthPath || r.URL.Path == readyPath
	switch {
	case s.hub.Open() && !monitoring && !s.houseName(hostOf(r.Host)):
		return fault(foreignHost, "Host", "%q is no name that this gateway answers to while it has no secret key: list it in http.hosts, or use an address", bridge.Shorten(r.Host))
	case !s.originAllowed(r):
		return fault(foreignOrigin, "Origin", "%q is another origin than this gateway's, which was asked for as Host %q: list it in http.cors_origins to let its pages in; behind a reverse proxy, have that pass the browser's Host on", bridge.Shorten(r.Header.Get("Origin")), bridge.Shorten(r.Host))
	case s.foreignFetch(r):
		return fault(foreignOrigin, "Sec-Fetch-Site", "%q: a page of another origin asked for this, which may not do so without saying which (http.cors_origins; the Host was %q)", bridge.Shorten(r.Header.Get("Sec-Fetch-Site")), bridge.Shorten(r.Host))
	case r.Header.Get("Sec-WebSocket-Key") != "" && !websocket.IsWebSocketUpgrade(r):
		return fault(upgradeLost, "Upgrade", "a proxy between here and the client took the WebSocket's Upgrade away: have it pass on the headers Upgrade and Connection by HTTP/1.1 (nginx: proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $http_connection; proxy_set_header Host $http_host)")
	}
	return nil
}

// originAllowed reports whether a request's origin is allowed: none (no page sent it), the
// gateway's own, or a configured one. If a proxy has changed the Host, the browser's
// Sec-Fetch-Site still tells that the origin is the gateway's. file:// is allowed too:
// arduinoWebSockets 2.x (ESP8266, ESP32) sends it, while browsers send null for files.
func (s *Server) originAllowed(r *nethttp.Request) bool {
	origin := r.Header.Get("Origin")
	if origin == "" {
		return true
	}
	if site := r.Header.Get("Sec-Fetch-Site"); site == "same-origin" || origin == "file://" && site == "" {
		return true
	}
	if u, err := url.Parse(origin); err == nil && u.Host != "" && sameHost(u, r.Host) {
		return true
	}
	return s.cors != nil && !forOperator(r) && s.cors.OriginAllowed(r)
}

// sameHost compares the host of an Origin with the Host header. The scheme's default port
// may be left out.
func sameHost(origin *url.URL, host string) bool {
	port := map[string]string{"http": ":80", "https": ":443"}[origin.Scheme]
	return strings.EqualFold(strings.TrimSuffix(origin.Host, port), strings.TrimSuffix(host, port))
}

// foreignFetch reports whether a page of another origin makes a request without an Origin
// header, as for a picture or a script. Following a link is allowed, unless the link acts
// for a sender.
func (s *Server) foreignFetch(r *nethttp.Request) bool {
	site := r.Header.Get("Sec-Fetch-Site")
	if site != "cross-site" && site != "same-site" || r.Header.Get("Origin") != "" || slices.Contains(s.opts.CORSOrigins, "*") && !forOperator(r) {
		return false
	}
	if r.Header.Get("Sec-Fetch-Mode") != "navigate" || r.Method != nethttp.MethodGet && r.Method != nethttp.MethodHead {
		return true
	}
	q := parseQuery(r)
	return q.Has("sender") || q.Has("access_token")
}

// hostOf returns the name or address of a Host header, in lower case without the port.
func hostOf(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	return strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
}

// houseName reports whether nobody outside can own a host name: it is an address, a name
// of this network or of this gateway, a configured one, or empty (not from a browser).
func (s *Server) houseName(host string) bool {
	if _, err := netip.ParseAddr(host); err == nil || !strings.Contains(host, ".") {
		return true
	}
	in := func(domain string) bool { return strings.HasSuffix(host, domain) }
	listed := func(name string) bool {
		name = strings.ToLower(name)
		return host == name || strings.HasPrefix(name, "*.") && in(name[1:])
	}
	return slices.ContainsFunc(houseDomains, in) || slices.ContainsFunc(s.opts.Hosts, listed) || s.opts.OwnHost != nil && s.opts.OwnHost(host)
}
