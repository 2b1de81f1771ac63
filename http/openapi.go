package http

import (
	_ "embed"
	nethttp "net/http"
)

// The paths of the descriptions.
const (
	openAPIPath  = "/openapi.yaml"
	asyncAPIPath = "/asyncapi.yaml"
)

// openAPI describes the API (OpenAPI 3.1). Tests check every request and answer against it.
//
//go:embed openapi.yaml
var openAPI []byte

// asyncAPI describes the topics and the streams (AsyncAPI 3.0). Its schemas of streams are those
// of openAPI. A test checks the messages of a running gateway against it.
//
//go:embed asyncapi.yaml
var asyncAPI []byte

// showDescription returns the calls that answer with a description.
func (s *Server) showDescription(description []byte) calls {
	show := func(w nethttp.ResponseWriter, _ *nethttp.Request) error {
		s.deadline(w)
		w.Header().Set("Content-Type", "application/yaml") // RFC 9512
		w.Header().Set("X-Content-Type-Options", "nosniff")
		_, _ = w.Write(description) // an error means that the client has gone
		return nil
	}
	return calls{nethttp.MethodGet: show, nethttp.MethodHead: show}
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
