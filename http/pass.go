package http

import (
	"context"
	"errors"
	nethttp "net/http"
	"strconv"
	"strings"
	"time"

	"github.com/gorilla/mux"
	"github.com/gorilla/websocket"

	"watchtower/bridge"
)

// A pass is a short token of a sender's, for pages. EventSource and WebSocket can set
// no header, so it may be in the query, or be one of the sub-protocols that a WebSocket
// offers. It is looked at in one place, and taken out of the query there: what comes
// behind never sees it. What it may do is in one table, and all else is refused.

const (
	passParameter    = "access_token"
	passSubprotocol  = "watchtower.bearer."
	plainSubprotocol = "watchtower" // offered beside it, so that the answer need not repeat the token
)

// The scopes of a pass.
const (
	hearing  = "hear"
	speaking = "hear+speak"
)

// passCalls are the calls that a pass is good for, and whether it has to be for
// speaking too.
var passCalls = map[string]struct{ speak bool }{
	"GET /me":              {},
	"GET /channels/join":   {},
	"POST /channels/join":  {},
	"GET /messages":        {},
	"POST /channels/leave": {},
	"POST /broadcast":      {speak: true},
	"POST /send":           {speak: true},
}

// publicCalls need no sender, and so look at no pass.
var publicCalls = []string{healthPath, readyPath, metricsPath, "/openapi.yaml"}

// pass is one that a request carries.
type pass struct {
	bridge.Pass
	text   string
	sender *bridge.Sender
	life   context.Context // ends when the sender's passes do
}

type passKey struct{}

// passOf returns the pass that a request carries, or nil.
func passOf(r *nethttp.Request) *pass {
	p, _ := r.Context().Value(passKey{}).(*pass)
	return p
}

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

// carriedPass returns what a request carries where a pass would be, and where that
// is; or nothing.
func carriedPass(r *nethttp.Request) (text, field string) {
	if r.URL.RawQuery != "" {
		if q := r.URL.Query(); q.Has(passParameter) {
			return q.Get(passParameter), passParameter
		}
	}
	for _, offered := range websocket.Subprotocols(r) {
		if text, found := strings.CutPrefix(offered, passSubprotocol); found {
			return text, "Sec-WebSocket-Protocol"
		}
	}
	if text := bearer(r); strings.HasPrefix(text, bridge.PassPrefix) {
		return text, "Authorization"
	}
	return "", ""
}

func (s *Server) openPass(text, field string) (*pass, error) {
	if !strings.HasPrefix(text, bridge.PassPrefix) {
		return nil, fault(bridge.InvalidToken, field, "takes a short token only, as POST /tokens gives it (%s…): a sender's own, or a key, would be kept in logs and histories", bridge.PassPrefix)
	}
	sender, allowed, life, err := s.hub.Tokens().OpenPass(text)
	var refusal *bridge.Error
	switch {
	case errors.As(err, &refusal):
		refusal.Field = field
		if refusal.Code == bridge.InvalidToken {
			return nil, denied{refusal}
		}
		return nil, refusal
	case err != nil:
		return nil, err
	}
	return &pass{Pass: allowed, text: text, sender: sender, life: life}, nil
}

// passFault says why a request's pass is not enough for a call, or nil.
func passFault(r *nethttp.Request) error {
	p := passOf(r)
	if p == nil {
		return nil
	}
	path, _ := mux.CurrentRoute(r).GetPathTemplate() // it came by a route
	for _, public := range publicCalls {
		if path == public {
			return nil
		}
	}
	need, known := passCalls[r.Method+" "+path]
	switch {
	case !known:
		return fault(beyondScope, "scope", "%s: a short token is not good for %s %s, which wants the sender's own (Authorization: Bearer …)", p.scope(), r.Method, path)
	case need.speak && !p.Speak:
		return fault(beyondScope, "scope", "%s is not enough for %s: POST /tokens with \"scope\":%q gives one that is", p.scope(), path, speaking)
	case strings.HasSuffix(path, "join") && r.Method == nethttp.MethodPost || path == "/messages":
		if p.Channels != nil {
			return fault(beyondScope, "scope", "a mailbox is one for all channels of its sender, and the token is for some: open a stream, or ask for a token without channels")
		}
	}
	return nil
}

func (p *pass) scope() string {
	if p.Speak {
		return speaking
	}
	return hearing
}

// coversAll refuses what names other channels than the pass is for.
func (p *pass) coversAll(channels []bridge.Channel) error {
	if p == nil {
		return nil
	}
	for i, c := range channels {
		if !p.Covers(c) {
			return fault(beyondScope, "channels["+strconv.Itoa(i)+"]", "the token's scope does not include channel %d", c)
		}
	}
	return nil
}

// authorizePass returns the sender of a pass. The request need not name it.
func (s *Server) authorizePass(p *pass, id bridge.SenderID, err error) (*bridge.Sender, error) {
	switch {
	case errors.Is(err, errNoSender):
	case err != nil:
		return nil, err
	case id != p.sender.ID():
		return nil, fault(bridge.InvalidToken, "sender", "%d is not the sender of the token, which is %d", id, p.sender.ID())
	}
	return p.sender, s.mayAsk(p.sender)
}

// heed ends a stream with the pass that opened it.
func (st *stream) heed(p *pass) {
	if p == nil {
		return
	}
	late := time.AfterFunc(p.Expires.Sub(st.server.hub.Now()), func() { st.part(expired) })
	revoked := context.AfterFunc(p.life, func() { st.part(expired) })
	st.unheed = func() { late.Stop(); revoked() }
}

// subprotocol chooses among those that a WebSocket with a pass offers: a client
// wants one of them (RFC 6455, 4.1).
func subprotocol(r *nethttp.Request) []string {
	var bearing []string
	for _, offered := range websocket.Subprotocols(r) {
		switch {
		case offered == plainSubprotocol:
			return []string{offered}
		case strings.HasPrefix(offered, passSubprotocol):
			bearing = []string{offered}
		}
	}
	return bearing
}
