package operator

import (
	nethttp "net/http"
	"net/netip"
	"strconv"
	"time"

	"github.com/sirupsen/logrus"

	"watchtower/bridge"
)

// The sizes of a page.
const (
	usualPage = 100
	mostPage  = 500
)

// sender is a sender in answers.
type sender struct {
	ID        bridge.SenderID `json:"id"`
	Name      string          `json:"name,omitempty"`
	Via       []string        `json:"via"`
	State     string          `json:"state"` // here, away
	Seen      *time.Time      `json:"seen,omitempty"`
	Channels  int             `json:"channels"`
	Protected bool            `json:"protected"`
	Approved  bool            `json:"approved,omitempty"`
	Held      bool            `json:"held"`
	Remote    bool            `json:"remote,omitempty"`   // it is a client of the foreign broker
	Token     bool            `json:"token"`              // it has one
	Last      string          `json:"last_via,omitempty"` // by which it last registered or joined
	Address   string          `json:"address,omitempty"`  // where it is, or was last
	Heard     *time.Time      `json:"heard,omitempty"`    // nil: not known, or it is away
	Late      bool            `json:"late,omitempty"`     // it is silent for longer than it promised
	OwnKey    bool            `json:"own_key"`            // its name has one
	Key       string          `json:"key,omitempty"`      // what let its device in: shared, own, previous
	Left      *left           `json:"left,omitempty"`     // nil: it is here, or nobody noticed
}

// left is why the last device of a name is away.
type left struct {
	Via string `json:"via"`
	Why string `json:"why"` // goodbye, silence, connection, mistake, slow
}

// lost is what somebody lost by one protocol and for one reason, since the start.
type lost struct {
	Via    string    `json:"via"`
	Reason string    `json:"reason"`
	N      uint64    `json:"n"`
	Last   time.Time `json:"last"`
}

func showLoss(l bridge.Loss) lost { return lost{l.Via.String(), l.Why.String(), l.N, l.Last.UTC()} }

// showAddress leaves out a port that is not known.
func showAddress(at netip.AddrPort) string {
	switch {
	case !at.IsValid():
		return ""
	case at.Port() == 0:
		return at.Addr().String()
	}
	return at.String()
}

func (s *Service) show(info bridge.SenderInfo) sender {
	shown := sender{
		ID: info.ID, Name: info.Name, Via: []string{}, State: "away",
		Channels: info.Channels, Protected: info.Protected, Approved: info.Approved, Held: info.Held, Remote: info.Remote, Token: info.Token,
		Address: showAddress(info.From), Late: info.Late, OwnKey: info.Own,
	}
	if info.Here {
		shown.State = "here"
	}
	for _, p := range info.Via {
		shown.Via = append(shown.Via, p.String())
	}
	if !info.Seen.IsZero() {
		seen := info.Seen.UTC().Truncate(time.Second)
		shown.Seen = &seen
	}
	if info.Last != 0 {
		shown.Last = info.Last.String()
	}
	if !info.Heard.IsZero() {
		heard := info.Heard.UTC()
		shown.Heard = &heard
	}
	if info.Left != bridge.LeftUnnoticed {
		shown.Left = &left{info.LeftVia.String(), info.Left.String()}
	}
	if info.By != bridge.Unproved {
		shown.Key = s.opts.Devices.Kind(info.By)
	}
	return shown
}

// listSenders answers GET /operator/senders.
func (s *Service) listSenders(w nethttp.ResponseWriter, r *request) error {
	if err := onlyQuery(r, "find", "via", "state", "held", "late", "missing", "from", "limit"); err != nil {
		return err
	}
	q := r.URL.Query()
	f := bridge.SenderFilter{Find: q.Get("find")}
	if q.Has("via") {
		for _, p := range bridge.Protocols() {
			if p.String() == q.Get("via") {
				f.Via = &p
			}
		}
		if f.Via == nil {
			return fault(invalidQuery, "via", "must be a protocol, such as udp, is %q", bridge.Shorten(q.Get("via")))
		}
	}
	if q.Has("state") {
		here := q.Get("state") == "here"
		if !here && q.Get("state") != "away" {
			return fault(invalidQuery, "state", "must be here or away, is %q", bridge.Shorten(q.Get("state")))
		}
		f.Here = &here
	}
	if q.Has("held") {
		held := q.Get("held") == "true"
		if !held && q.Get("held") != "false" {
			return fault(invalidQuery, "held", "must be true or false, is %q", bridge.Shorten(q.Get("held")))
		}
		f.Held = &held
	}
	for name, only := range map[string]*bool{"late": &f.Late, "missing": &f.Missing} {
		if *only = q.Get(name) == "true"; q.Has(name) && !*only {
			return fault(invalidQuery, name, "must be true, is %q", bridge.Shorten(q.Get(name)))
		}
	}
	if f.Missing {
		f.Except = ofOperators
	}
	from, err := number(q.Get("from"), 0, 1<<32-1)
	if err != nil {
		return fault(invalidQuery, "from", "must be a sender's id, is %q", bridge.Shorten(q.Get("from")))
	}
	limit, err := pageSize(q.Get("limit"))
	if err != nil {
		return err
	}
	page, next := s.hub.Registry().List(f, bridge.SenderID(from), limit)
	list := make([]sender, 0, len(page))
	for _, info := range page {
		list = append(list, s.show(info))
	}
	return s.answer(w, struct {
		Senders []sender        `json:"senders"`
		Next    bridge.SenderID `json:"next,omitempty"`
	}{list, next})
}

// mostChannels is how many channels the answer about one sender lists.
const mostChannels = 500

// showSender answers GET /operator/senders/{id}.
func (s *Service) showSender(w nethttp.ResponseWriter, r *request) error {
	if err := onlyQuery(r); err != nil {
		return err
	}
	info, err := s.sender(r)
	if err != nil {
		return err
	}
	more, err := s.hub.Registry().Details(info.ID, mostChannels)
	if err != nil {
		return err
	}
	answer := struct {
		sender
		On   []bridge.Channel `json:"on"`
		Lost []lost           `json:"lost"`
	}{s.show(info), append([]bridge.Channel{}, more.On...), []lost{}}
	for _, l := range more.Lost {
		answer.Lost = append(answer.Lost, showLoss(l))
	}
	return s.answer(w, answer)
}

// pageSize reads how long a page is to be.
func pageSize(text string) (int, error) {
	n, err := number(text, usualPage, mostPage)
	if err != nil {
		return 0, fault(invalidQuery, "limit", "must be 1 to %d, is %q", mostPage, bridge.Shorten(text))
	}
	return int(n), nil
}

// number reads a whole number from 1 on; empty text is the usual one.
func number(text string, usual, most uint64) (uint64, error) {
	if text == "" {
		return usual, nil
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err == nil && (n == 0 || n > most) {
		err = strconv.ErrRange
	}
	return n, err
}

// sender returns the sender that the path names, by id or name.
func (s *Service) sender(r *request) (bridge.SenderInfo, error) {
	id, refusal := s.hub.Receiver(r.id)
	if refusal != nil {
		return bridge.SenderInfo{}, fault(bridge.UnknownSender, "sender", "%s is no sender's id or name: GET /operator/senders lists them", bridge.Shorten(r.id))
	}
	return s.hub.Registry().Sender(id)
}

// changeSender answers PATCH /operator/senders/{id}. It changes all or nothing.
func (s *Service) changeSender(w nethttp.ResponseWriter, r *request) error {
	if err := onlyQuery(r); err != nil {
		return err
	}
	body, err := readObject(w, r.Request, "name", "protected")
	if err != nil {
		return err
	}
	before, err := s.sender(r)
	if err != nil {
		return err
	}
	var change bridge.SenderChange
	if body.has("name") {
		name, err := body.text("name")
		if err != nil {
			return err
		}
		change.Name = &name
	}
	if body.has("protected") {
		protected, err := body.flag("protected")
		if err != nil {
			return err
		}
		change.Protected = &protected
	}
	if change == (bridge.SenderChange{}) {
		return fault(invalidBody, "", "names no change: give name or protected")
	}
	if err := s.hub.Registry().Change(before.ID, change); err != nil {
		return err
	}
	after, err := s.hub.Registry().Sender(before.ID)
	if err != nil {
		return err
	}
	s.did(r, "operator changed a sender", logrus.Fields{
		"sender": after.ID, "name": after.Name, "was": before.Name, "protected": after.Protected,
	})
	return s.answer(w, s.show(after))
}

// forgetSender answers DELETE /operator/senders/{id}, once the deletion is on disk.
func (s *Service) forgetSender(w nethttp.ResponseWriter, r *request) error {
	if err := onlyQuery(r); err != nil {
		return err
	}
	info, err := s.sender(r)
	if err != nil {
		return err
	}
	if known, ok := s.hub.SenderByID(info.ID); ok {
		if err := s.hub.Forget(known); err != nil {
			return err
		}
	}
	s.did(r, "operator forgot a sender", logrus.Fields{"sender": info.ID, "name": info.Name})
	return s.done(w)
}

// freshToken answers POST /operator/senders/{id}/token.
func (s *Service) freshToken(w nethttp.ResponseWriter, r *request) error {
	if err := onlyQuery(r); err != nil {
		return err
	}
	if _, err := readObject(w, r.Request); err != nil {
		return err
	}
	info, err := s.sender(r)
	if err != nil {
		return err
	}
	token, err := s.hub.Registry().FreshToken(info.ID)
	if err != nil {
		return err
	}
	s.did(r, "operator gave a sender a token", logrus.Fields{"sender": info.ID, "name": info.Name})
	return s.answer(w, struct {
		Token string `json:"token"`
	}{token})
}

// reload answers POST /operator/reload.
func (s *Service) reload(w nethttp.ResponseWriter, r *request) error {
	if err := onlyQuery(r); err != nil {
		return err
	}
	if _, err := readObject(w, r.Request); err != nil {
		return err
	}
	done, faults := s.opts.Reload()
	if len(faults) > 0 {
		detail := faults[0]
		if len(faults) > 1 {
			detail += " (and " + strconv.Itoa(len(faults)-1) + " more: see faults)"
		}
		return &faulty{fault(invalidConfig, "", "nothing has changed: %s", detail), faults}
	}
	s.did(r, "operator had the configuration read again", logrus.Fields{"reloaded": done.Reloaded, "needs_restart": done.NeedsRestart})
	return s.answer(w, done)
}
