package http

import (
	"errors"
	"fmt"
	nethttp "net/http"

	"github.com/gorilla/mux"

	"watchtower/bridge"
	"watchtower/intake"
)

// register answers POST /register (docs/http.md, "Who may use an id").
func (s *Server) register(w nethttp.ResponseWriter, r *nethttp.Request) error {
	body, err := s.readObject(r, &body{limit: intake.Free}) // a name and a key
	if err != nil {
		return err
	}
	if err := s.checkKey(r, body); err != nil {
		return err
	}
	if err := body.only("secret_key", "name", "protected", "remote"); err != nil {
		return err
	}
	if err := parseQuery(r).only(); err != nil {
		return err
	}
	name, named, err := body.text("name")
	if err != nil {
		return err
	}
	if named && !bridge.ValidName(name) {
		return fault(bridge.InvalidName, "name", "%q is no name: leave it out, or give 1 to 64 of A–Z a–z 0–9 _ . : -", bridge.Shorten(name))
	}
	protected, err := body.flag("protected", false)
	if err != nil {
		return err
	}
	remote, err := body.flag("remote", false)
	if err != nil {
		return err
	}
	given, err := s.hub.Register(bridge.Registration{Via: Protocol, Name: name, Protected: protected, Remote: remote, Token: bearer(r)})
	var refusal *bridge.Error
	if errors.As(err, &refusal) && refusal.Code == bridge.NameProtected && bearer(r) != "" {
		return denied{refusal}
	}
	if err != nil {
		return err
	}
	know(r)
	return s.answer(w, struct {
		ID      bridge.SenderID `json:"id"`
		Token   string          `json:"token"`
		Gateway string          `json:"gateway"`
	}{given.ID, given.Token, fmt.Sprintf("%08x", s.opts.Gateway)})
}

// checkKey checks the secret key of a registration. An open gateway does not check it.
func (s *Server) checkKey(r *nethttp.Request, body object) error {
	if s.hub.Open() {
		return nil
	}
	key, _, err := body.text("secret_key")
	switch {
	case err != nil:
		return fault(bridge.InvalidSecretKey, "secret_key", "is not a string")
	case key == "":
		return fault(bridge.InvalidSecretKey, "secret_key", "is missing: the gateway has a secret key, shown at its first start: `watchtower secret-key` on its machine prints it")
	}
	// The guard checked this before; many requests may have begun at once.
	if wait := s.auth.Waits(s.proxies.caller(r)); wait > 0 {
		return s.tooMany(r, wait)
	}
	if !s.hub.CheckKey(key) {
		name, _, _ := body.text("name")
		return named{denied{fault(bridge.InvalidSecretKey, "secret_key", "is not the gateway's secret key, shown at its first start: `watchtower secret-key` on its machine prints it")}, bridge.Shorten(name)}
	}
	s.auth.Right(s.proxies.caller(r))
	return nil
}

// listChannels answers GET /channels.
func (s *Server) listChannels(w nethttp.ResponseWriter, r *nethttp.Request) error {
	if _, _, err := s.asker(r, "sender"); err != nil {
		return err
	}
	list := s.hub.Directory().Channels()
	if len(list) == 0 {
		w.WriteHeader(nethttp.StatusNoContent)
		return nil
	}
	return s.answer(w, channelList{list})
}

// leave answers POST /channels/leave.
func (s *Server) leave(w nethttp.ResponseWriter, r *nethttp.Request) error {
	sender, body, err := s.speaker(r, "sender", "channels")
	if err != nil {
		return err
	}
	by := passOf(r)
	channels, err := readChannels(body, by)
	if err != nil {
		return err
	}
	channels = sorted(channels)
	if by == nil {
		s.hub.Leave(sender, channels)
	} else { // a pass ends only the memberships that it began
		s.hub.LeaveOwn(sender, channels, func(a *bridge.Attachment) bool {
			m, ok := a.Member.(member) // false: another protocol's
			return ok && m.openedBy(by)
		})
	}
	return s.answer(w, channelList{channels})
}

// members answers GET /channels/{id}/members.
func (s *Server) members(w nethttp.ResponseWriter, r *nethttp.Request) error {
	sender, _, err := s.asker(r, "sender")
	if err != nil {
		return err
	}
	id := mux.Vars(r)["id"]
	channel, ok := parseNumber(id)
	if !ok {
		return fault(bridge.InvalidChannel, "path", "%s is not a channel from 1 to 4294967295", bridge.Shorten(id))
	}
	members, ok := s.hub.Directory().Members(sender, bridge.Channel(channel))
	if !ok {
		return fault(bridge.UnjoinedChannel, "path", "sender %d has not joined channel %d: only members may ask for its members", sender.ID(), channel)
	}
	return s.answer(w, members)
}

// deleteSender answers DELETE /senders/{id}.
func (s *Server) deleteSender(w nethttp.ResponseWriter, r *nethttp.Request) error {
	id, err := parseSender(mux.Vars(r)["id"])
	sender, err := s.authorize(r, id, err)
	if err != nil {
		return err
	}
	if err := parseQuery(r).only(); err != nil {
		return err
	}
	if err := s.hub.Forget(sender); err != nil {
		return err
	}
	w.WriteHeader(nethttp.StatusNoContent)
	return nil
}

// health answers GET /healthz.
func (s *Server) health(w nethttp.ResponseWriter, _ *nethttp.Request) error {
	return s.answer(w, map[string]string{"status": "ok"})
}

// ready answers GET /readyz: whether the gateway can do its work. It can also while it does not
// reach the other gateways, but says so.
func (s *Server) ready(w nethttp.ResponseWriter, _ *nethttp.Request) error {
	if s.opts.Ready != nil {
		if err := s.opts.Ready(); err != nil {
			return fault(notReady, "", "%s", err)
		}
	}
	answer := map[string]string{"status": "ready"}
	for key, fault := range map[string]func() error{"cluster_fault": s.opts.Apart, "remote_fault": s.opts.foreignFault} {
		if fault == nil {
			continue
		}
		if err := fault(); err != nil {
			answer[key] = err.Error()
		}
	}
	return s.answer(w, answer)
}
