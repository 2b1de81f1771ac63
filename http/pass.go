package http

import (
	"context"
	"errors"
	nethttp "net/http"
	"strings"

	"github.com/gorilla/websocket"

	"watchtower/bridge"
)

// A pass is a sender's short token, for pages. EventSource and WebSocket cannot set headers,
// so it may be in the query, or a sub-protocol that a WebSocket offers. Server.passes checks
// it and removes it from the query. passCalls lists the calls that it allows.

const (
	passParameter    = "access_token"
	passSubprotocol  = "watchtower.bearer."
	plainSubprotocol = "watchtower" // offered too, so that the answer need not repeat the token
)

// The scopes of a pass.
const (
	hearing  = "hear"
	speaking = "hear+speak"
)

// pass is the pass of a request.
type pass struct {
	bridge.Pass
	text   string
	sender *bridge.Sender
	life   context.Context // canceled when the sender's passes are revoked
}

type passKey struct{}

// passOf returns the pass that a request carries, or nil.
func passOf(r *nethttp.Request) *pass {
	p, _ := r.Context().Value(passKey{}).(*pass)
	return p
}

// carriedPass returns the text of a request's pass, and the field that has it; "": none.
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

func (p *pass) scope() string {
	if p.Speak {
		return speaking
	}
	return hearing
}

// noSpeech refuses a pass of a scope that does not allow to speak.
func noSpeech(scope, what string) error {
	return fault(beyondScope, "scope", "%s is not enough %s: watchtower token --speak, or POST /tokens with \"scope\":%q, gives one that is", scope, what, speaking)
}

// coversAll refuses channels that the pass does not cover. A nil pass covers all.
func (p *pass) coversAll(channels []bridge.Channel) error {
	if p == nil {
		return nil
	}
	for i, c := range channels {
		if !p.Covers(c) {
			return fault(beyondScope, field("channels", i), "the token's scope does not include channel %d: POST /tokens gives one that does", c)
		}
	}
	return nil
}

// subprotocol chooses one of the sub-protocols that a WebSocket with a pass offers, since
// the client requires one of them (RFC 6455, 4.1).
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
