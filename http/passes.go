package http

import (
	nethttp "net/http"
	"strings"
	"time"

	"watchtower/bridge"
	"watchtower/intake"
)

// The lifetime of a pass, in seconds: default and longest.
const (
	usualPass   = 3600
	longestPass = 86400
)

// makePass answers POST /tokens: for the sender of the token, or for any sender if an
// operator who may manage asks.
func (s *Server) makePass(w nethttp.ResponseWriter, r *nethttp.Request) error {
	body, err := s.readObject(r, &body{limit: intake.Free})
	if err != nil {
		return err
	}
	sender, operator, err := s.passMaker(r, body)
	if err != nil {
		return err
	}
	if err := s.mayAsk(sender); err != nil {
		return err
	}
	if err := parseQuery(r).only(); err != nil {
		return err
	}
	if err := body.only("scope", "channels", "ttl", "sender"); err != nil {
		return err
	}
	allowed, err := s.readPass(body)
	if err != nil {
		return err
	}
	text, err := s.hub.Tokens().IssuePass(sender, allowed)
	if err != nil {
		return err
	}
	p := &pass{Pass: allowed}
	if operator != "" {
		s.log.WithField("operator", operator).WithField("sender", sender.ID()).WithField("scope", p.scope()).Info("short token made")
	}
	return s.answer(w, struct {
		Token    string           `json:"token"`
		Expires  time.Time        `json:"expires"`
		Scope    string           `json:"scope"`
		Channels []bridge.Channel `json:"channels,omitempty"`
	}{text, allowed.Expires.UTC(), p.scope(), allowed.Channels})
}

// passMaker returns the sender of a new pass, and the operator who asks for it, if any.
func (s *Server) passMaker(r *nethttp.Request, body object) (sender *bridge.Sender, operator string, err error) {
	token := bearer(r)
	sender, known := s.hub.Tokens().Sender(token)
	switch {
	case token == "":
		return nil, "", fault(bridge.InvalidToken, "Authorization", "is missing: it is the sender's own token, as POST /register gave it (Authorization: Bearer …)")
	case known:
		know(r)
		if id, err := body.sender(); body["sender"] != "" && (err != nil || id != sender.ID()) {
			return nil, "", fault(bridge.InvalidToken, "sender", "is not %d, whose token this is: leave it out", sender.ID())
		}
		return sender, "", nil
	case s.opts.Manages == nil || !strings.HasPrefix(token, "wtc_"):
		return nil, "", denied{fault(bridge.InvalidToken, "Authorization", "is no sender's token: POST /register gives one")}
	}
	if operator, known = s.opts.Manages(r); !known {
		return nil, "", fault(bridge.InvalidToken, "Authorization", "is no session of an operator who may manage")
	}
	know(r)
	id, err := body.sender()
	if err != nil {
		return nil, "", err
	}
	if sender, known = s.hub.SenderByID(id); !known {
		return nil, "", fault(bridge.InvalidSender, "sender", "%d is unknown", id)
	}
	return sender, operator, nil
}

// readPass reads the scope, lifetime and channels of a new pass.
func (s *Server) readPass(body object) (p bridge.Pass, err error) {
	scope, found, err := body.text("scope")
	switch {
	case err != nil:
		return p, err
	case found && scope != hearing && scope != speaking:
		return p, fault(bridge.InvalidField, "scope", "%q is neither %s nor %s", bridge.Shorten(scope), hearing, speaking)
	}
	p.Speak = scope == speaking
	ttl := uint32(usualPass)
	if raw, found := body["ttl"]; found {
		var ok bool
		if ttl, ok = parseNumber(raw); !ok || ttl > longestPass {
			return p, fault(bridge.InvalidField, "ttl", "%s is not a whole number of seconds from 1 to %d", bridge.Shorten(raw), longestPass)
		}
	}
	p.Expires = s.hub.Now().Truncate(time.Second).Add(time.Duration(ttl) * time.Second)
	if _, found := body["channels"]; !found {
		return p, nil
	}
	if p.Channels, err = readChannels(body, nil); err != nil {
		return p, err
	}
	if p.Channels = sorted(p.Channels); len(p.Channels) > bridge.MostPassChannels {
		return p, fault(bridge.InvalidChannel, "channels", "names %d, a token takes %d: leave it out for all", len(p.Channels), bridge.MostPassChannels)
	}
	return p, nil
}

// me answers GET /me.
func (s *Server) me(w nethttp.ResponseWriter, r *nethttp.Request) error {
	sender := s.carrier(r)
	switch {
	case sender == nil && bearer(r) == "":
		return fault(bridge.InvalidToken, "Authorization", "is missing: it is a token of the sender that is asked for (Authorization: Bearer …)")
	case sender == nil:
		return denied{fault(bridge.InvalidToken, "Authorization", "is no sender's token: POST /register gives one")}
	}
	know(r)
	if err := s.mayAsk(sender); err != nil {
		return err
	}
	s.hub.Seen(sender)
	return s.answer(w, struct {
		ID   bridge.SenderID `json:"id"`
		Name string          `json:"name,omitempty"`
	}{sender.ID(), sender.Name()})
}
