package operator

import (
	nethttp "net/http"
	"slices"
	"strings"

	"watchtower/bridge"

	"github.com/sirupsen/logrus"
)

// caller is the sender of a request.
type caller struct {
	role    Role
	name    string // empty: without a session
	session string // its id; empty: none
}

// request is one call of a caller.
type request struct {
	*nethttp.Request
	caller
	id string // the path's {id}
}

// call answers one kind of request, or returns the error to answer it with.
type call func(nethttp.ResponseWriter, *request) error

// route is a path with its methods.
type route struct {
	path    []string // its levels; {id} stands for any level
	methods map[string]method
}

type method struct {
	role Role
	do   call
}

// calls returns the routes of all calls.
func (s *Service) calls() []route {
	at := func(path string, methods map[string]method) route { return route{strings.Split(path, "/"), methods} }
	return []route{
		at("/operator/session", map[string]method{
			nethttp.MethodPost: {None, s.signIn}, nethttp.MethodGet: {Look, s.whoAmI}, nethttp.MethodDelete: {Look, s.signOut},
		}),
		at("/operator/sessions", map[string]method{nethttp.MethodGet: {Manage, s.listSessions}}),
		at("/operator/sessions/{id}", map[string]method{nethttp.MethodDelete: {Manage, s.endSession}}),
		at("/operator/senders", map[string]method{nethttp.MethodGet: {Look, s.listSenders}}),
		at("/operator/senders/{id}", map[string]method{
			nethttp.MethodPatch: {Manage, s.changeSender}, nethttp.MethodDelete: {Manage, s.forgetSender},
		}),
		at("/operator/senders/{id}/token", map[string]method{nethttp.MethodPost: {Manage, s.freshToken}}),
		at("/operator/reload", map[string]method{nethttp.MethodPost: {Manage, s.reload}}),
		at("/operator/backup", map[string]method{nethttp.MethodGet: {Manage, s.backup}}),
	}
}

func (rt route) match(path []string) (id string, ok bool) {
	if len(path) != len(rt.path) {
		return "", false
	}
	for i, level := range rt.path {
		switch {
		case level == "{id}" && path[i] != "":
			id = path[i]
		case level != path[i]:
			return "", false
		}
	}
	return id, true
}

// ServeHTTP answers a call below /operator.
func (s *Service) ServeHTTP(w nethttp.ResponseWriter, r *nethttp.Request) {
	if err := s.serve(w, r); err != nil {
		s.fail(w, err)
	}
}

func (s *Service) serve(w nethttp.ResponseWriter, r *nethttp.Request) error {
	path := strings.Split(r.URL.Path, "/")
	for _, rt := range s.routes {
		id, ok := rt.match(path)
		if !ok {
			continue
		}
		m, ok := rt.methods[r.Method]
		if !ok {
			var allow []string
			for name := range rt.methods {
				allow = append(allow, name)
			}
			slices.Sort(allow)
			w.Header().Set("Allow", strings.Join(allow, ", "))
			return fault(notAllowed, "method", "%s is not for %s: use %s", bridge.Shorten(r.Method), bridge.Shorten(r.URL.Path), strings.Join(allow, ", "))
		}
		who, err := s.authorize(r, m.role)
		if err != nil {
			return err
		}
		return m.do(w, &request{Request: r, caller: who, id: id})
	}
	return fault(notFound, "path", "%s is not part of this API", bridge.Shorten(r.URL.Path))
}

// authorize returns the caller of a request, or an error if the caller lacks the role.
func (s *Service) authorize(r *nethttp.Request, need Role) (who caller, err error) {
	if need == None {
		return who, nil
	}
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	token = strings.TrimSpace(token)
	switch {
	case token == "" && s.opts.Open && need <= Speak:
		return caller{role: Speak}, nil
	case token == "":
		return who, fault(noSession, "Authorization", "is missing: POST /operator/session gives a session's token (Authorization: Bearer wtc_…)")
	}
	who, ok := s.sessions.find(token)
	switch {
	case !ok || !strings.EqualFold(scheme, "Bearer"):
		return who, fault(noSession, "Authorization", "is no session's token, or that session has ended: POST /operator/session begins one")
	case who.role < need:
		s.opts.Known(r)
		return who, fault(noRole, "Authorization", "this needs the role %s; %s has %s", need, who.name, who.role)
	}
	s.opts.Known(r)
	return who, nil
}

// Manages reports whether a request comes from an operator who may manage, and returns the
// operator's name. It is for calls that are not below /operator.
func (s *Service) Manages(r *nethttp.Request) (who string, ok bool) {
	found, err := s.authorize(r, Manage)
	return found.name, err == nil
}

// did logs what an operator did, as one event.
func (s *Service) did(r *request, what string, fields logrus.Fields) {
	s.log.WithFields(logrus.Fields{"operator": r.name, "client": s.opts.Client(r.Request)}).WithFields(fields).Info(what)
}

// onlyQuery refuses query parameters that are not known.
func onlyQuery(r *request, known ...string) error {
	for name, values := range r.URL.Query() {
		switch {
		case !contains(known, name):
			return fault(unknownQuery, bridge.Shorten(name), "is not known here")
		case len(values) > 1:
			return fault(invalidQuery, name, "is there twice")
		}
	}
	return nil
}
