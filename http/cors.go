package http

import (
	nethttp "net/http"

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
