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
	vouched bool   // somebody else has signed it in: it has no session
}

// request is one call of a caller.
type request struct {
	*nethttp.Request
	caller
	id     string // the path's {id}
	member string // the path's {member}
}

// call answers one kind of request, or returns the error to answer it with.
type call func(nethttp.ResponseWriter, *request) error

// route is a path with its methods.
type route struct {
	path    []string // of which {id} and {member} are any one level
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
			nethttp.MethodGet: {Look, s.showSender}, nethttp.MethodPatch: {Manage, s.changeSender}, nethttp.MethodDelete: {Manage, s.forgetSender},
		}),
		at("/operator/senders/{id}/token", map[string]method{nethttp.MethodPost: {Manage, s.freshToken}}),
		at("/operator/gateway", map[string]method{nethttp.MethodGet: {Look, s.showGateway}}),
		at("/operator/cluster", map[string]method{nethttp.MethodGet: {Look, s.showCluster}}),
		at("/operator/rates", map[string]method{nethttp.MethodGet: {Look, s.showRates}}),
		at("/operator/losses", map[string]method{nethttp.MethodGet: {Look, s.listLosses}}),
		at("/operator/gone", map[string]method{nethttp.MethodGet: {Look, s.listGone}}),
		at("/operator/refusals", map[string]method{nethttp.MethodGet: {Look, s.listRefusals}}),
		at("/operator/channels", map[string]method{nethttp.MethodGet: {Look, s.listChannels}}),
		at("/operator/channels/{id}/members", map[string]method{nethttp.MethodGet: {Look, s.listMembers}}),
		at("/operator/channels/{id}/members/{member}", map[string]method{nethttp.MethodDelete: {Manage, s.endMembership}}),
		at("/operator/channels/{id}/messages", map[string]method{nethttp.MethodPost: {Speak, s.postMessage}}),
		at("/operator/topics", map[string]method{nethttp.MethodGet: {Look, s.listTopics}}),
		at("/operator/topics/value", map[string]method{
			nethttp.MethodGet: {Look, s.showTopic}, nethttp.MethodPut: {Speak, s.publishTopic}, nethttp.MethodDelete: {Manage, s.removeTopics},
		}),
		at("/operator/callbacks", map[string]method{nethttp.MethodGet: {Look, s.listCallbacks}}),
		at("/operator/callbacks/{id}/replay", map[string]method{nethttp.MethodPost: {Manage, s.onCallback("operator had a callback's messages replayed", s.replayCallback)}}),
		at("/operator/callbacks/{id}/rotate", map[string]method{nethttp.MethodPost: {Manage, s.onCallback("operator rotated a callback's secret", s.rotateCallback)}}),
		at("/operator/callbacks/{id}/off", map[string]method{nethttp.MethodPost: {Manage, s.onCallback("operator switched a callback off", s.switchCallback(false))}}),
		at("/operator/callbacks/{id}/on", map[string]method{nethttp.MethodPost: {Manage, s.onCallback("operator switched a callback on", s.switchCallback(true))}}),
		at("/operator/homeassistant", map[string]method{nethttp.MethodGet: {Look, s.showHouse}}),
		at("/operator/settings", map[string]method{nethttp.MethodGet: {Manage, s.listSettings}}),
		at("/operator/device-key", map[string]method{nethttp.MethodGet: {Manage, s.showDeviceKey}}),
		at("/operator/device-keys", map[string]method{nethttp.MethodGet: {Look, s.showDeviceKeys}}),
		at("/operator/device-keys/rotate", map[string]method{nethttp.MethodPost: {Manage, s.rotateKeys}}),
		at("/operator/devices/{id}/key", map[string]method{nethttp.MethodGet: {Manage, s.showOwnKey}}),
		at("/operator/devices/{id}/revoke", map[string]method{nethttp.MethodPost: {Manage, s.revokeKey}}),
		at("/operator/live", map[string]method{nethttp.MethodGet: {None, s.live}}),
		at("/operator/reload", map[string]method{nethttp.MethodPost: {Manage, s.reload}}),
		at("/operator/backup", map[string]method{nethttp.MethodGet: {Manage, s.backup}}),
	}
}

func (rt route) match(path []string) (r request, ok bool) {
	if len(path) != len(rt.path) {
		return r, false
	}
	for i, level := range rt.path {
		switch {
		case level == "{id}" && path[i] != "":
			r.id = path[i]
		case level == "{member}" && path[i] != "":
			r.member = path[i]
		case level != path[i]:
			return r, false
		}
	}
	return r, true
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
		asked, ok := rt.match(path)
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
		asked.Request, asked.caller = r, who
		return m.do(w, &asked)
	}
	return fault(notFound, "path", "%s is not part of this API: GET /openapi.yaml describes it", bridge.Shorten(r.URL.Path))
}

// authorize returns the caller of a request, or an error if the caller lacks the role.
func (s *Service) authorize(r *nethttp.Request, need Role) (who caller, err error) {
	if need == None {
		return who, nil
	}
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	token = strings.TrimSpace(token)
	if token != "" && !strings.EqualFold(scheme, "Bearer") {
		return who, fault(noSession, "Authorization", "must be Bearer, and a session's token")
	}
	who, err = s.find(r, token, need)
	if err == nil && token != "" || who.role != None {
		s.opts.Known(r)
	}
	return who, err
}

// find returns who a token belongs to, if that role is enough. Who was signed in elsewhere
// needs none, and on an open gateway nobody needs one to look and speak.
func (s *Service) find(r *nethttp.Request, token string, need Role) (who caller, err error) {
	if token == "" {
		if name, ok := s.opts.Vouched(r); ok {
			return caller{role: Manage, name: name, vouched: true}, nil
		}
	}
	switch {
	case token == "" && s.opts.Open && need <= Speak:
		return caller{role: Speak}, nil
	case token == "":
		return who, fault(noSession, "Authorization", "is missing: POST /operator/session gives a session's token (Authorization: Bearer wtc_…)")
	}
	who, ok := s.sessions.find(token)
	switch {
	case !ok:
		return who, fault(noSession, "Authorization", "is no session's token, or that session has ended: POST /operator/session begins one")
	case who.role < need:
		return who, fault(noRole, "Authorization", "this needs the role %s; %s has %s", need, who.name, who.role)
	}
	return who, nil
}

// stillCounts reports whether somebody may still do what its session allowed. It uses
// the session, which ends later for it.
func (s *Service) stillCounts(who caller) bool {
	return who.vouched || who.session == "" && s.opts.Open || s.sessions.uses(who.session, who.role)
}

// Manages reports whether a request is of an operator who may manage, and who that
// is. It is for calls that are not below /operator.
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
