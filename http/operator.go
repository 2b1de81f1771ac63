package http

import (
	nethttp "net/http"
	"strconv"
	"strings"

	"watchtower/auth"
)

// operatorPath is where the operator's calls begin.
const operatorPath = "/operator"

// forOperator reports whether a request is one of the operator's calls.
func forOperator(r *nethttp.Request) bool { return strings.HasPrefix(r.URL.Path, operatorPath+"/") }

// withOperator hands the operator's calls to their own handler, beside CORS and the
// guard: no page of another origin is ever let in, and failures close nothing to
// whoever has a session.
func (s *Server) withOperator(api nethttp.Handler) nethttp.Handler {
	if s.opts.Operator == nil || !s.opts.Console {
		return api
	}
	return nethttp.HandlerFunc(func(w nethttp.ResponseWriter, r *nethttp.Request) {
		if !forOperator(r) {
			api.ServeHTTP(w, r)
			return
		}
		if s.gate.isClosed() {
			s.fail(w, r, errStopping())
			return
		}
		watched := &statusWriter{ResponseWriter: w, status: nethttp.StatusOK}
		s.opts.Operator.ServeHTTP(watched, r)
		if watched.status >= nethttp.StatusBadRequest {
			s.refused.WithLabelValues(strconv.Itoa(watched.status)).Inc()
		}
	})
}

// Know says that who asks has proved who he is, so that his connection is no
// stranger's.
func (s *Server) Know(r *nethttp.Request) { know(r) }

// Client is the address that a request counts for, in words.
func (s *Server) Client(r *nethttp.Request) string { return s.proxies.client(r).String() }

// Caller is who a request counts for at the gate.
func (s *Server) Caller(r *nethttp.Request) auth.Caller { return s.proxies.caller(r) }
