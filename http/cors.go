package http

import (
	nethttp "net/http"

	"github.com/rs/cors"
)

// corsMaxAge is how long a browser may cache a preflight answer, in seconds.
const corsMaxAge = 600

// newCORS returns the handler for pages of the given origins; nil: there are none. Tokens
// are in headers, not in cookies, so credentials are not allowed.
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
