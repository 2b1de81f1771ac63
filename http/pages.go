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

// A browser runs pages of strangers inside the house, and what such a page asks for
// comes from there. So every request that could be one of them is looked at before
// anything else is done with it, and before a body is read:
//
//   - a page of another origin (RFC 6454) is let in only if http.cors_origins lists it;
//   - a gateway without a secret key answers only to names that nobody outside can
//     give: a page whose name was made to point here (DNS rebinding) has another;
//   - a WebSocket whose Upgrade was lost on its way is told so, since what is left of
//     it is an ordinary GET, which would join.
//
// With a secret key the name does not matter, so that people can give the gateway
// names of their own: a rebound page has neither the key nor a token.

// The paths that monitoring asks, which no client's failures close.
const (
	healthPath  = "/healthz"
	readyPath   = "/readyz"
	metricsPath = "/metrics"
)

// houseDomains are the ends of names that no public name server answers for.
var houseDomains = []string{".localhost", ".local", ".lan", ".home.arpa", ".internal", ".fritz.box"}

var noReferrer = []string{"no-referrer"}

// keepOut refuses what a page of a stranger may not ask for.
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
			err = hangUp{refusal} // the body is not read
		case refusal.Code == upgradeLost:
			w.Header().Set("Upgrade", "websocket") // RFC 9110, 15.5.22
			w.Header().Set("Connection", "Upgrade")
		}
		s.fail(w, r, err)
	})
}

// pageFault says why a request is refused, or nil.
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

// originAllowed reports whether a page may ask: it is the gateway's own, or one of
// an origin that the configuration lists. Whoever names no origin is no browser, or
// comes from no page. file:// is what a WebSocket library of ESP8266 and ESP32 says
// unasked (arduinoWebSockets 2.x), and no page: browsers call those of files null.
// That a page is the gateway's own the browser may say itself,
// where a proxy has changed the Host.
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

// sameHost compares what a browser says of a page with what it says of the gateway.
// The port that a scheme has anyway may be left out.
func sameHost(origin *url.URL, host string) bool {
	port := map[string]string{"http": ":80", "https": ":443"}[origin.Scheme]
	return strings.EqualFold(strings.TrimSuffix(origin.Host, port), strings.TrimSuffix(host, port))
}

// foreignFetch reports whether a page of another origin asks without naming it, as
// for a picture or a script. Who follows a link may come in, unless it speaks for a
// sender: then it does something.
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

// hostOf returns the name or address of a Host header, without its port and in small
// letters.
func hostOf(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	return strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
}

// houseName reports whether nobody outside can have a host point here: it is an
// address, a name of this network or of this gateway, or the configuration lists it.
// Who names none is no browser.
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
