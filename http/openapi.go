package http

import (
	_ "embed"
	nethttp "net/http"
)

// openAPI describes the API (OpenAPI 3.1). Tests check every request and answer against it.
//
//go:embed openapi.yaml
var openAPI []byte

// showOpenAPI answers GET /openapi.yaml.
func (s *Server) showOpenAPI(w nethttp.ResponseWriter, _ *nethttp.Request) error {
	s.deadline(w)
	w.Header().Set("Content-Type", "application/yaml") // RFC 9512
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write(openAPI) // an error means that the client has gone
	return nil
}

// showPublic answers with one of the handlers in Options.Public.
func (s *Server) showPublic(public nethttp.Handler) calls {
	show := func(w nethttp.ResponseWriter, r *nethttp.Request) error {
		s.deadline(w)
		public.ServeHTTP(w, r)
		return nil
	}
	return calls{nethttp.MethodGet: show, nethttp.MethodHead: show}
}
