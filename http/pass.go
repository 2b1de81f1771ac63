package http

import (
	"context"
	"errors"
	nethttp "net/http"
	"strings"

	"github.com/gorilla/websocket"

	"watchtower/bridge"
)

// A pass is a short token of a sender's, for pages. EventSource and WebSocket can set
// no header, so it may be in the query, or be one of the sub-protocols that a WebSocket
// offers. It is looked at in one place, and taken out of the query there: what comes
// behind never sees it. What it may do is in one table (passCalls), and all else is refused.

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
			return fault(beyondScope, field("channels", i), "the token's scope does not include channel %d", c)
		}
	}
	return nil
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
