package http

import (
	nethttp "net/http"
	"net/url"
	"strings"

	"github.com/rs/cors"
)

// corsMaxAge is how long a browser may remember what it was allowed, in seconds.
const corsMaxAge = 600

// newCORS returns what answers browsers that ask for pages of other origins; nil
// if none may. Tokens are in headers, not in cookies, so no credentials are needed.
func newCORS(origins []string) *cors.Cors {
	if len(origins) == 0 {
		return nil
	}
	return cors.New(cors.Options{
		AllowedOrigins: origins,
		AllowedMethods: []string{nethttp.MethodGet, nethttp.MethodHead, nethttp.MethodPost, nethttp.MethodDelete},
		AllowedHeaders: []string{"*"},
		ExposedHeaders: []string{"Retry-After"},
		MaxAge:         corsMaxAge,
	})
}

// originAllowed reports whether a page may open a WebSocket: it is the gateway's
// own, or one of an origin that the configuration lists. Whoever names no origin
// is no browser.
func (s *Server) originAllowed(r *nethttp.Request) bool {
	origin := r.Header.Get("Origin")
	if origin == "" {
		return true
	}
	if u, err := url.Parse(origin); err == nil && strings.EqualFold(u.Host, r.Host) {
		return true
	}
	return s.cors != nil && s.cors.OriginAllowed(r)
}
