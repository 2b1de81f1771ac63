package http

import (
	nethttp "net/http"
	"strings"
)

// ingressPath is the header in which Home Assistant's ingress says below which path of its own
// the gateway is. Requests of its watchdog do not have it.
const ingressPath = "X-Ingress-Path"

// userHeader is the header with the name of Home Assistant's user. Ingress removes what a
// client wrote there.
const userHeader = "X-Remote-User-Name"

// Ingress reports whether Home Assistant has signed in who makes a request (http.ingress), and
// that one's name, of which everything that is not in a sender's name is a "_". The connection
// itself has to be the ingress's: X-Forwarded-For does not count.
func (s *Server) Ingress(r *nethttp.Request) (name string, ok bool) {
	if r.Header.Get(ingressPath) == "" || !s.ingress.trust(peerOf(r).Addr()) {
		return "", false
	}
	name = strings.Map(func(c rune) rune {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.ContainsRune("_.-", c):
			return c
		}
		return '_'
	}, r.Header.Get(userHeader))
	if name == "" {
		name = "home-assistant"
	}
	return name[:min(len(name), 48)], true
}
