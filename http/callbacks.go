package http

import (
	"errors"
	nethttp "net/http"
	"net/url"

	"watchtower/bridge"
	"watchtower/callback"
)

// joinAsync answers POST /channels/join/async, once the membership is on disk.
func (s *Server) joinAsync(w nethttp.ResponseWriter, r *nethttp.Request) error {
	j, body, err := s.joiner(r, "callback_url")
	if err != nil {
		return err
	}
	address, err := body.callbackURL("it is an http or https URL that takes a POST for each message")
	if err != nil {
		return err
	}
	secret, fresh, err := s.callbacks.Join(r.Context(), callback.Join{
		Sender: j.sender, Channels: j.channels, URL: address, NoEcho: j.noEcho, Since: j.since,
	})
	if err != nil {
		return err
	}
	if bearer(r) == "" && !fresh { // without a token, only the secret of a new callback is shown
		secret = ""
	}
	return s.answer(w, struct {
		channelList
		Secret string `json:"secret,omitempty"`
	}{channelList{j.channels}, secret})
}

// listCallbacks answers GET /callbacks. A URL may hold a secret, and members of a channel
// know its senders' ids: so the whole URL is shown only with the token.
func (s *Server) listCallbacks(w nethttp.ResponseWriter, r *nethttp.Request) error {
	sender, _, err := s.asker(r, "sender")
	if err != nil {
		return err
	}
	list := s.callbacks.List(sender)
	if bearer(r) == "" {
		for i := range list {
			list[i].URL = originOf(list[i].URL)
		}
	}
	return s.answer(w, map[string][]callback.View{"callbacks": list})
}

// originOf replaces a URL's path and query.
func originOf(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return ""
	}
	return u.Scheme + "://" + u.Host + "/…"
}

// owner reads a call about one callback: its sender and its URL.
func (s *Server) owner(r *nethttp.Request, besides ...string) (*bridge.Sender, string, object, error) {
	sender, body, err := s.speaker(r, append([]string{"sender", "callback_url"}, besides...)...)
	if err != nil {
		return nil, "", nil, err
	}
	address, err := body.callbackURL("it is the URL of the join")
	return sender, address, body, err
}

// rotateSecret answers POST /callbacks/rotate, once the new secret is on disk. It needs the
// token: an id alone is known to others.
func (s *Server) rotateSecret(w nethttp.ResponseWriter, r *nethttp.Request) error {
	sender, address, _, err := s.owner(r)
	if err != nil {
		return err
	}
	if bearer(r) == "" {
		return fault(bridge.InvalidToken, "Authorization", "is missing: a secret is rotated only with the token of sender %d (Authorization: Bearer …), as POST /register returned it", sender.ID())
	}
	secret, err := s.callbacks.Rotate(sender, address)
	var soon callback.TooSoon
	if errors.As(err, &soon) {
		return waits{soon.Refusal, max(1, int(soon.Wait.Seconds()))}
	}
	if err != nil {
		return err
	}
	return s.answer(w, map[string]string{"secret": secret})
}

// replayFailed answers POST /callbacks/replay: failed deliveries wait again, in order, behind
// the waiting ones.
func (s *Server) replayFailed(w nethttp.ResponseWriter, r *nethttp.Request) error {
	sender, address, body, err := s.owner(r, "ids")
	if err != nil {
		return err
	}
	var ids []string
	if _, found := body["ids"]; found {
		if ids, err = body.texts("ids"); err != nil {
			return err
		}
	}
	n, err := s.callbacks.Replay(sender, address, ids)
	if err != nil {
		return err
	}
	return s.answer(w, map[string]int{"replayed": n})
}
