package http

import (
	nethttp "net/http"
	"strconv"
	"strings"

	"github.com/gorilla/websocket"

	"watchtower/auth"
)

// operatorPath is the path prefix of the operator's calls.
const operatorPath = "/operator"

// forOperator reports whether a request is one of the operator's calls.
func forOperator(r *nethttp.Request) bool { return strings.HasPrefix(r.URL.Path, operatorPath+"/") }

// withOperator gives the operator's calls and page to their own handlers, without CORS and
// the guard: pages of other origins are never let in, and failures do not lock out an operator
// with a session.
func (s *Server) withOperator(api nethttp.Handler) nethttp.Handler {
	if s.opts.Operator == nil || !s.opts.Console {
		return api
	}
	return nethttp.HandlerFunc(func(w nethttp.ResponseWriter, r *nethttp.Request) {
		own := s.opts.Operator
		switch {
		case forOperator(r):
		case s.opts.Page != nil && s.opts.Page.Has(r.URL.Path) && !websocket.IsWebSocketUpgrade(r):
			own = s.opts.Page
		default:
			api.ServeHTTP(w, r)
			return
		}
		if s.gate.isClosed() {
			s.fail(w, r, errStopping())
			return
		}
		watched := &statusWriter{ResponseWriter: w, status: nethttp.StatusOK}
		own.ServeHTTP(watched, r)
		if watched.status >= nethttp.StatusBadRequest {
			s.refused.WithLabelValues(strconv.Itoa(watched.status)).Inc()
		}
	})
}

// Know notes that the client of a request is identified.
func (s *Server) Know(r *nethttp.Request) { know(r) }

// Client returns the client's address as text.
func (s *Server) Client(r *nethttp.Request) string { return s.proxies.client(r).String() }

// Caller returns the caller that a request counts for at the gate.
func (s *Server) Caller(r *nethttp.Request) auth.Caller { return s.proxies.caller(r) }
