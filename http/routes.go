package http

import (
	"bufio"
	"maps"
	"net"
	nethttp "net/http"
	"slices"
	"strings"
	"time"

	"github.com/gorilla/mux"
	"github.com/sirupsen/logrus"

	"watchtower/bridge"
)

// call answers one kind of request, or returns the error to answer it with.
type call func(nethttp.ResponseWriter, *nethttp.Request) error

// calls are what a path does, by method.
type calls map[string]call

// The paths that monitoring asks, which no client's failures close.
const (
	healthPath  = "/healthz"
	readyPath   = "/readyz"
	metricsPath = "/metrics"
)

// sendersPaths begin the paths whose calls act as the sender of a token, which is
// why they go on with it from an address that has to wait. That the token is the
// sender's own, authorize finds out.
var sendersPaths = []string{"/channels", "/messages", "/callbacks", "/senders", "/broadcast", "/send", "/me", "/tokens"}

func isSenders(path string) bool {
	return slices.ContainsFunc(sendersPaths, func(p string) bool {
		rest, ok := strings.CutPrefix(path, p)
		return ok && (rest == "" || rest[0] == '/')
	})
}

func (s *Server) routes() nethttp.Handler {
	r := mux.NewRouter().SkipClean(true) // a path that is almost right is 404, not a redirect
	// The router tries one after the other: what is asked most comes first.
	for _, way := range []struct {
		path string
		calls
	}{
		{"/broadcast", calls{nethttp.MethodPost: s.publish(bridge.Broadcast)}},
		{"/send", calls{nethttp.MethodPost: s.publish(bridge.Send)}},
		{"/messages", calls{nethttp.MethodGet: s.messages}},
		{"/channels/join", calls{nethttp.MethodGet: s.joinStream, nethttp.MethodPost: s.joinMailbox}},
		{"/me", calls{nethttp.MethodGet: s.me}},
		{"/tokens", calls{nethttp.MethodPost: s.makePass}},
		{"/register", calls{nethttp.MethodPost: s.register}},
		{"/channels", calls{nethttp.MethodGet: s.listChannels}},
		{"/channels/join/async", calls{nethttp.MethodPost: s.joinAsync}},
		{"/callbacks", calls{nethttp.MethodGet: s.listCallbacks}},
		{"/callbacks/rotate", calls{nethttp.MethodPost: s.rotateSecret}},
		{"/callbacks/replay", calls{nethttp.MethodPost: s.replayFailed}},
		{"/channels/leave", calls{nethttp.MethodPost: s.leave}},
		{"/channels/{id}/members", calls{nethttp.MethodGet: s.members}},
		{"/senders/{id}", calls{nethttp.MethodDelete: s.deleteSender}},
		{"/mqtt", calls{nethttp.MethodGet: s.joinMQTT}},
		{healthPath, calls{nethttp.MethodGet: s.health, nethttp.MethodHead: s.health}},
		{readyPath, calls{nethttp.MethodGet: s.ready, nethttp.MethodHead: s.ready}},
		{"/openapi.yaml", calls{nethttp.MethodGet: s.showOpenAPI, nethttp.MethodHead: s.showOpenAPI}},
		{metricsPath, calls{nethttp.MethodGet: s.showMetrics, nethttp.MethodHead: s.showMetrics}},
	} {
		r.Handle(way.path, s.dispatch(way.calls))
	}
	r.NotFoundHandler = s.dispatch(nil)
	api := s.guard(s.passes(r))
	if s.cors != nil {
		api = s.cors.Handler(api)
	}
	return s.watch(s.keepOut(s.withOperator(api)))
}

// dispatch answers with the call of a request's method.
func (s *Server) dispatch(methods calls) nethttp.Handler {
	allow := strings.Join(slices.Sorted(maps.Keys(methods)), ", ")
	return nethttp.HandlerFunc(func(w nethttp.ResponseWriter, r *nethttp.Request) {
		var err error
		switch do := methods[r.Method]; {
		case do != nil:
			if err = passFault(r); err == nil {
				err = do(w, r)
			}
		case methods == nil && r.Method == nethttp.MethodGet && r.URL.Path == "/" && offersMQTT(r):
			if err = passFault(r); err == nil {
				err = s.joinMQTT(w, r)
			}
		case methods == nil:
			err = fault(notFound, "path", "%s is not part of this API", bridge.Shorten(r.URL.Path))
		default:
			w.Header().Set("Allow", allow)
			err = fault(methodNotAllowed, "method", "%s is not for %s: use %s", bridge.Shorten(r.Method), bridge.Shorten(r.URL.Path), allow)
		}
		if err != nil {
			s.fail(w, r, err)
		}
	})
}

// watch counts what a request takes, and logs it.
func (s *Server) watch(next nethttp.Handler) nethttp.Handler {
	return nethttp.HandlerFunc(func(w nethttp.ResponseWriter, r *nethttp.Request) {
		if v := visitorOfRequest(r); v != nil {
			v.enter()
			defer v.leave()
		}
		if s.log.IsLevelEnabled(logrus.DebugLevel) {
			watched := &statusWriter{ResponseWriter: w, status: nethttp.StatusOK}
			w = watched
			defer s.logAccess(r, watched, time.Now())
		}
		next.ServeHTTP(w, r)
	})
}

// guard refuses requests before anything is read of them: when the gateway is
// stopping, and from addresses with too many failures.
func (s *Server) guard(next nethttp.Handler) nethttp.Handler {
	return nethttp.HandlerFunc(func(w nethttp.ResponseWriter, r *nethttp.Request) {
		if s.gate.isClosed() {
			s.fail(w, r, errStopping())
			return
		}
		monitoring := r.URL.Path == healthPath || r.URL.Path == readyPath || r.URL.Path == metricsPath
		if !monitoring && !s.auth.Quiet() && s.auth.Shut(s.caller(r)) && (!isSenders(r.URL.Path) || !s.carriesToken(r)) {
			s.fail(w, r, s.tooMany(r, s.auth.Waits(s.caller(r))))
			return
		}
		next.ServeHTTP(w, r)
	})
}

func errStopping() error {
	return fault(stopping, "", "the gateway is stopping: try again in a moment")
}

// deadline bounds the writing of an answer. A writer that has no deadlines
// needs none.
func (s *Server) deadline(w nethttp.ResponseWriter) {
	_ = nethttp.NewResponseController(w).SetWriteDeadline(time.Now().Add(s.opts.WriteTimeout))
}

// statusWriter remembers the status for the log.
type statusWriter struct {
	nethttp.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// Hijack lets a WebSocket take the connection over.
func (w *statusWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	w.status = nethttp.StatusSwitchingProtocols
	return nethttp.NewResponseController(w.ResponseWriter).Hijack()
}

// Unwrap lets http.ResponseController reach what is inside.
func (w *statusWriter) Unwrap() nethttp.ResponseWriter { return w.ResponseWriter }

// logAccess logs a request without its query, where addresses of callbacks may
// hold secrets.
func (s *Server) logAccess(r *nethttp.Request, w *statusWriter, start time.Time) {
	s.log.WithFields(logrus.Fields{
		"method": r.Method, "path": r.URL.Path, "status": w.status,
		"client": s.client(r).String(), "took": time.Since(start).String(),
	}).Debug("http request")
}
