package operator

import (
	nethttp "net/http"
	"strings"
	"time"
	"unicode"

	"github.com/sirupsen/logrus"

	"watchtower/bridge"
)

// signIn answers POST /operator/session: it exchanges the admin key, or a user's
// password, for a session.
func (s *Service) signIn(w nethttp.ResponseWriter, r *request) error {
	if err := s.mayTry(w, r.Request); err != nil {
		return err
	}
	body, err := readObject(w, r.Request, "key", "user", "password", "stay")
	if err != nil {
		return err
	}
	if err := onlyQuery(r); err != nil {
		return err
	}
	stay, err := body.flag("stay")
	if err != nil {
		return err
	}
	if err := s.mayTry(w, r.Request); err != nil { // again: other tries may have failed meanwhile
		return err
	}
	user, err := s.login(r, body)
	if err != nil {
		return err
	}
	s.opts.Known(r.Request)
	token, who := s.sessions.begin(user, label(r.UserAgent()), stay)
	r.caller = who
	s.did(r, "operator signed in", logrus.Fields{"role": who.role.String(), "session": who.session, "agent": label(r.UserAgent())})
	return s.answer(w, struct {
		Token   string    `json:"token"`
		Role    string    `json:"role"`
		Name    string    `json:"name"`
		Open    bool      `json:"open"`
		Expires time.Time `json:"expires"` // unless it is used before
	}{token, who.role.String(), who.name, s.opts.Open, s.sessions.expires(stay).UTC().Truncate(time.Second)})
}

// login checks the key or password in a body. It returns the user, or "" for the admin key.
func (s *Service) login(r *request, body object) (user string, err error) {
	if body.has("key") {
		key, err := body.text("key")
		switch {
		case err != nil:
			return "", err
		case body.has("user") || body.has("password"):
			return "", fault(invalidField, "key", "stands alone: give a key, or user and password")
		case !s.sessions.rightKey(key):
			s.opts.Failed(r.Request)
			return "", fault(wrongLogin, "key", "is not the gateway's admin key: `watchtower admin-key` on its machine shows it")
		}
		return "", nil
	}
	if !body.has("user") {
		return "", fault(invalidField, "key", "is missing: give the admin key, or user and password")
	}
	if user, err = body.text("user"); err != nil {
		return "", err
	}
	password, err := body.text("password")
	if err != nil {
		return "", err
	}
	right, busy := s.opts.CheckPassword(r.Context(), r.Request, user, password)
	switch {
	case busy:
		return "", fault(tooBusy, "", "too many passwords are being checked: try again")
	case !right:
		return "", fault(wrongLogin, "password", "is not that user's, or there is no such user")
	case s.sessions.role(user) == None:
		return "", fault(noRole, "user", "%s has no role in the configuration (users.%s.role: look, speak or manage)", user, user)
	}
	return user, nil
}

// label returns the label by which people recognize a session, in lists and in the log: the
// printable start of its User-Agent. Of the command line it has the command.
func label(agent string) string {
	printed := strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) && r != unicode.ReplacementChar {
			return r
		}
		return -1
	}, agent)
	if r := []rune(printed); len(r) > 80 {
		printed = string(r[:80])
	}
	return printed
}

// whoAmI answers GET /operator/session.
func (s *Service) whoAmI(w nethttp.ResponseWriter, r *request) error {
	if err := onlyQuery(r); err != nil {
		return err
	}
	return s.answer(w, struct {
		Role    string `json:"role"`
		Name    string `json:"name"`
		Open    bool   `json:"open"`
		Ingress bool   `json:"ingress,omitempty"`
	}{r.role.String(), r.name, s.opts.Open, r.vouched})
}

// signOut answers DELETE /operator/session.
func (s *Service) signOut(w nethttp.ResponseWriter, r *request) error {
	if r.session == "" {
		return fault(notFound, "Authorization", "there is no session to end")
	}
	return s.endByID(w, r, r.session)
}

// listSessions answers GET /operator/sessions.
func (s *Service) listSessions(w nethttp.ResponseWriter, r *request) error {
	if err := onlyQuery(r); err != nil {
		return err
	}
	return s.answer(w, struct {
		Sessions []listed `json:"sessions"`
	}{s.sessions.list(r.session)})
}

// endSession answers DELETE /operator/sessions/{id}.
func (s *Service) endSession(w nethttp.ResponseWriter, r *request) error {
	return s.endByID(w, r, r.id)
}

func (s *Service) endByID(w nethttp.ResponseWriter, r *request, id string) error {
	if err := onlyQuery(r); err != nil {
		return err
	}
	whose, found, err := s.sessions.end(id)
	switch {
	case !found:
		return fault(notFound, "session", "%s is no session, or it has ended", bridge.Shorten(id))
	case err != nil:
		s.log.WithError(err).Error("operators' sessions not written")
		return fault(bridge.StoreFailed, "", "the session has ended, but that could not be written to disk: it may be back after a restart")
	}
	if id == r.session { // each command ends its own
		s.log.WithFields(logrus.Fields{"operator": r.name, "client": s.opts.Client(r.Request), "session": id}).Debug("operator signed out")
	} else {
		s.did(r, "operator ended a session", logrus.Fields{"session": id, "of": whose})
	}
	return s.done(w)
}
