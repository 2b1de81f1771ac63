package http

import (
	"context"
	"maps"
	nethttp "net/http"
	"slices"
	"strings"
	"time"

	"github.com/gorilla/mux"
	"github.com/sirupsen/logrus"

	"watchtower/bridge"
)

// calls are the calls of a path, by method.
type calls map[string]call

// sendersPaths are the prefixes of the paths whose calls act for a sender. With a token they
// work even from an address with too many failures. authorize checks that the token is the
// sender's.
var sendersPaths = []string{"/channels", "/messages", "/callbacks", "/senders", "/broadcast", "/send", "/me", "/tokens"}

func isSenders(path string) bool {
	return slices.ContainsFunc(sendersPaths, func(p string) bool {
		rest, ok := strings.CutPrefix(path, p)
		return ok && (rest == "" || rest[0] == '/')
	})
}

func (s *Server) routes() nethttp.Handler {
	r := mux.NewRouter().SkipClean(true) // an unclean path is 404, not a redirect
	fixed := map[string]nethttp.Handler{}
	handle := func(path string, methods calls) {
		if strings.Contains(path, "{") {
			r.Handle(path, s.dispatch(methods))
		} else if fixed[path] == nil {
			fixed[path] = s.dispatch(methods)
		}
	}
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
		{openAPIPath, s.showDescription(openAPI)},
		{asyncAPIPath, s.showDescription(asyncAPI)},
		{metricsPath, calls{nethttp.MethodGet: s.showMetrics, nethttp.MethodHead: s.showMetrics}},
	} {
		handle(way.path, way.calls)
	}
	if s.opts.Files != nil {
		r.PathPrefix(filesPath).Handler(s.dispatch(calls{nethttp.MethodGet: s.showFile, nethttp.MethodHead: s.showFile}))
		handle(strings.TrimSuffix(filesPath, "/"), calls{nethttp.MethodGet: s.toFiles, nethttp.MethodHead: s.toFiles})
	}
	for path, public := range s.opts.Public {
		handle(path, s.showPublic(public))
	}
	r.NotFoundHandler = s.dispatch(nil)
	api := s.guard(s.passes(fixedFirst(fixed, r)))
	if s.cors != nil {
		api = s.cors.Handler(api)
	}
	return s.watch(s.keepOut(s.withOperator(api)))
}

// fixedFirst finds paths without variables in a map. The router would try one path after the other, and copy
// the request twice.
func fixedFirst(fixed map[string]nethttp.Handler, r *mux.Router) nethttp.Handler {
	return nethttp.HandlerFunc(func(w nethttp.ResponseWriter, req *nethttp.Request) {
		if h := fixed[req.URL.Path]; h != nil {
			h.ServeHTTP(w, req)
			return
		}
		r.ServeHTTP(w, req)
	})
}

// template is the path of a request's route, with the names of its variables.
func template(r *nethttp.Request) string {
	if route := mux.CurrentRoute(r); route != nil {
		path, _ := route.GetPathTemplate() // each of ours has one
		return path
	}
	return r.URL.Path
}

// dispatch runs the call for a request's method.
func (s *Server) dispatch(methods calls) nethttp.Handler {
	allow := strings.Join(slices.Sorted(maps.Keys(methods)), ", ")
	return nethttp.HandlerFunc(func(w nethttp.ResponseWriter, r *nethttp.Request) {
		var err error
		switch do := methods[r.Method]; {
		case do != nil:
			if err = s.passFault(r); err == nil {
				err = do(w, r)
			}
		case methods == nil && r.Method == nethttp.MethodGet && r.URL.Path == "/" && offersMQTT(r):
			if err = s.passFault(r); err == nil {
				err = s.joinMQTT(w, r)
			}
		case methods == nil:
			err = fault(notFound, "path", "%s is not part of this API: GET /openapi.yaml describes it", bridge.Shorten(r.URL.Path))
			if strings.HasPrefix(r.URL.Path, filesPath) { // with a directory it would be a route
				err = fault(notFound, "path", "no pages are served: http.pages (--http-pages) names their directory")
			}
		default:
			w.Header().Set("Allow", allow)
			err = fault(methodNotAllowed, "method", "%s is not for %s: use %s", bridge.Shorten(r.Method), bridge.Shorten(r.URL.Path), allow)
		}
		if err != nil {
			s.fail(w, r, err)
		}
	})
}

// watch counts a running request at its visitor, and logs it.
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
		hearOut(w, r)
	})
}

// guard refuses requests when the gateway is stopping, and from addresses with too many
// failures, before their bodies are read.
func (s *Server) guard(next nethttp.Handler) nethttp.Handler {
	return nethttp.HandlerFunc(func(w nethttp.ResponseWriter, r *nethttp.Request) {
		if s.gate.isClosed() {
			s.fail(w, r, errStopping())
			return
		}
		monitoring := r.URL.Path == healthPath || r.URL.Path == readyPath || r.URL.Path == metricsPath
		if !monitoring && !s.auth.Quiet() && s.auth.Shut(s.proxies.caller(r)) && (!isSenders(r.URL.Path) || !s.carriesToken(r)) {
			s.fail(w, r, s.tooMany(r, s.auth.Waits(s.proxies.caller(r))))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// logAccess logs a request without its query, which may hold secrets.
func (s *Server) logAccess(r *nethttp.Request, w *statusWriter, start time.Time) {
	s.log.WithFields(logrus.Fields{
		"method": r.Method, "path": r.URL.Path, "status": w.status,
		"client": s.proxies.client(r).String(), "took": time.Since(start).String(),
	}).Debug("http request")
}

// passCalls are the calls that a pass allows, and whether it needs the scope hear+speak.
var passCalls = map[string]struct{ speak bool }{
	"GET /me":              {},
	"GET /channels/join":   {},
	"POST /channels/join":  {},
	"GET /messages":        {},
	"POST /channels/leave": {},
	"POST /broadcast":      {speak: true},
	"POST /send":           {speak: true},
}

// publicCalls need no sender, and ignore a pass.
var publicCalls = []string{healthPath, readyPath, metricsPath, openAPIPath, asyncAPIPath, filesPath, strings.TrimSuffix(filesPath, "/")}

// passes opens the pass of a request that carries one.
func (s *Server) passes(next nethttp.Handler) nethttp.Handler {
	return nethttp.HandlerFunc(func(w nethttp.ResponseWriter, r *nethttp.Request) {
		text, field := carriedPass(r)
		if field == "" {
			next.ServeHTTP(w, r)
			return
		}
		p, err := s.openPass(text, field)
		if err != nil {
			s.fail(w, r, err)
			return
		}
		know(r)
		r = r.WithContext(context.WithValue(r.Context(), passKey{}, p))
		if field == passParameter {
			u := *r.URL
			q := u.Query()
			q.Del(passParameter)
			u.RawQuery = q.Encode()
			r.URL, r.RequestURI = &u, u.RequestURI()
		}
		next.ServeHTTP(w, r)
	})
}

// passFault returns why a request's pass does not allow its call; nil: it does.
func (s *Server) passFault(r *nethttp.Request) error {
	p := passOf(r)
	if p == nil {
		return nil
	}
	path := template(r)
	if slices.Contains(publicCalls, path) || s.opts.Public[path] != nil {
		return nil
	}
	need, known := passCalls[r.Method+" "+path]
	switch {
	case !known:
		return fault(beyondScope, "scope", "%s: a short token is not good for %s %s, which wants the sender's own (Authorization: Bearer …)", p.scope(), r.Method, path)
	case need.speak && !p.Speak:
		return noSpeech(p.scope(), "for "+path)
	case strings.HasSuffix(path, "join") && r.Method == nethttp.MethodPost || path == "/messages":
		if p.Channels != nil {
			return fault(beyondScope, "scope", "a mailbox is one for all channels of its sender, and the token is for some: open a stream, or ask for a token without channels")
		}
	}
	return nil
}
