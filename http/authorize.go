package http

import (
	"errors"
	nethttp "net/http"

	"watchtower/bridge"
)

// carriesToken reports whether a request carries a sender's token, a pass, or the token of
// an operator's session.
func (s *Server) carriesToken(r *nethttp.Request) bool {
	if text, field := carriedPass(r); field != "" {
		_, err := s.openPass(text, field)
		return err == nil
	}
	token := bearer(r)
	if token == "" {
		return false
	}
	if _, ok := s.hub.Tokens().Sender(token); ok {
		return true
	}
	if s.opts.Manages == nil || r.URL.Path != "/tokens" {
		return false
	}
	_, ok := s.opts.Manages(r)
	return ok
}

// authorize returns the sender that a request may act for. A missing token does not count
// as a failed guess.
func (s *Server) authorize(r *nethttp.Request, id bridge.SenderID, err error) (*bridge.Sender, error) {
	if p := passOf(r); p != nil {
		return s.authorizePass(p, id, err)
	}
	token := bearer(r)
	if errors.Is(err, errNoSender) && token != "" {
		return s.bearerOf(r, token)
	}
	if err != nil {
		return nil, err
	}
	if token == "" && !s.auth.Quiet() { // a right token passes the gate: it cannot be guessed
		if wait := s.auth.Waits(s.proxies.caller(r)); wait > 0 {
			return nil, s.tooMany(r, wait)
		}
	}
	sender, err := s.hub.Tokens().Authorize(id, token)
	if err == nil {
		know(r)
		return sender, s.mayAsk(sender)
	}
	var refusal *bridge.Error
	if errors.As(err, &refusal) && (token != "" || refusal.Code == bridge.InvalidSender) {
		return nil, denied{refusal}
	}
	return nil, err
}

// bearerOf returns the sender of a request that names none: the one that its token belongs to.
func (s *Server) bearerOf(r *nethttp.Request, token string) (*bridge.Sender, error) {
	sender, ok := s.hub.Tokens().Sender(token)
	if !ok {
		return nil, denied{fault(bridge.InvalidToken, "Authorization", "is no sender's token: POST /register gives one (a newer registration of its name replaces it)")}
	}
	know(r)
	s.hub.Seen(sender)
	return sender, s.mayAsk(sender)
}

// mayAsk counts a sender's request, and refuses it if there were too many.
func (s *Server) mayAsk(sender *bridge.Sender) error {
	if s.requests.Take(sender.ID()) {
		return nil
	}
	return fault(bridge.TooManyRequests, "sender", "%d asks too often: at most %d requests a second (limits.sender_requests)", sender.ID(), s.opts.SenderRequests)
}

// authorizePass returns the sender of a pass. The request need not name it.
func (s *Server) authorizePass(p *pass, id bridge.SenderID, err error) (*bridge.Sender, error) {
	switch {
	case errors.Is(err, errNoSender):
	case err != nil:
		return nil, err
	case id != p.sender.ID():
		return nil, fault(bridge.InvalidToken, "sender", "%d is not the sender of the token, which is %d: leave it out, or use that one's token", id, p.sender.ID())
	}
	return p.sender, s.mayAsk(p.sender)
}

// carrier returns the sender whose token or pass a request carries, or nil.
func (s *Server) carrier(r *nethttp.Request) *bridge.Sender {
	if p := passOf(r); p != nil {
		return p.sender
	}
	if token := bearer(r); token != "" {
		sender, _ := s.hub.Tokens().Sender(token)
		return sender
	}
	return nil
}
