package http

import (
	"errors"
	nethttp "net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/oklog/ulid/v2"

	"watchtower/bridge"
	"watchtower/callback"
)

// reportPatience is how long the answer to a broadcast or send waits for its report.
const reportPatience = 2 * time.Second

// peersPatience is how long such a report waits for other gateways.
const peersPatience = reportPatience * 3 / 4

// maxHops is how many callbacks a message may have been through.
const maxHops = 8

// spoken is a broadcast or send as it was read.
type spoken struct {
	sender  *bridge.Sender
	targets lister // has the channels and receivers
	content bridge.Content
	report  string // callback_url; empty: none
	answer  bool   // the answer has the report
	ttl     time.Duration
}

// publish answers POST /broadcast and POST /send.
func (s *Server) publish(t bridge.Type) call {
	return func(w nethttp.ResponseWriter, r *nethttp.Request) error {
		said, err := s.readSpoken(r, t)
		if err != nil {
			return err
		}
		p := bridge.Publication{Type: t, Content: said.content, Via: Protocol, Wait: true, TTL: said.ttl, Voice: s.voiceOf(r, said.sender)}
		if err := s.address(r, said, &p); err != nil {
			return err
		}
		if said.report != "" {
			p.Report = s.callbacks.Reporter(said.sender, said.report, p.Hops)
		}
		var reported chan bridge.Report
		if said.answer {
			reported = make(chan bridge.Report, 1)
			p.Report, p.Within = func(r bridge.Report) { reported <- r }, peersPatience
		}
		id, err := s.say(said.sender, p)
		var waiting *bridge.Unconfirmed
		if errors.As(err, &waiting) {
			s.write(w, nethttp.StatusAccepted, typeJSON, confirmedOf(waiting))
			return nil
		}
		if err != nil {
			return err
		}
		if !said.answer {
			s.writeBytes(w, nethttp.StatusOK, typeJSON, takenAs(id))
			return nil
		}
		done := taken{ID: id}
		select {
		case report := <-reported:
			done.Offered, done.Dropped, done.Missing = report.Offered, report.Dropped, report.Missing
		case <-time.After(reportPatience): // a protocol is behind
		case <-r.Context().Done():
		}
		return s.answer(w, done)
	}
}

// taken is the answer to a broadcast or send, with the counts of its report if they are
// wanted and were ready in time.
type taken struct {
	ID      ulid.ULID      `json:"id"`
	Offered map[string]int `json:"offered,omitzero"`
	Dropped map[string]int `json:"dropped,omitzero"`
	Missing []string       `json:"missing,omitempty"`
}

// takenAs is taken without counts, which most answers are: to encode it as any other value takes a
// twentieth of the whole call.
func takenAs(id ulid.ULID) []byte {
	return append(append([]byte(`{"id":"`), id.String()...), "\"}\n"...)
}

// halfConfirmed is the answer to what waits until others say the same.
type halfConfirmed struct {
	Confirmed int    `json:"confirmed"`
	Of        int    `json:"of"`
	Until     string `json:"until"`
}

func confirmedOf(u *bridge.Unconfirmed) halfConfirmed {
	return halfConfirmed{u.Confirmed, u.Of, u.Until.UTC().Format("2006-01-02T15:04:05.000Z")}
}

// voiceOf returns what a request shows of its sender: whether its token, or a short one, came
// with it.
func (s *Server) voiceOf(r *nethttp.Request, sender *bridge.Sender) bridge.Voice {
	return bridge.Voice{Proved: s.carrier(r) == sender}
}

// address fills in a publication's hops, channels and receivers, and does the last checks.
func (s *Server) address(r *nethttp.Request, said spoken, p *bridge.Publication) (err error) {
	if err := s.hub.CheckContent(said.content); err != nil {
		return err
	}
	if p.Hops, err = readHops(r); err != nil {
		return err
	}
	if err := s.targets(said, passOf(r), p); err != nil {
		return err
	}
	if said.report != "" && passOf(r) != nil {
		return fault(beyondScope, "callback_url", "a short token's scope includes no callbacks: leave it out")
	}
	if said.report != "" {
		return s.callbacks.CheckURL(r.Context(), said.report)
	}
	return nil
}

// targets fills in the channels and receivers. A pass has to cover the channels.
func (s *Server) targets(said spoken, by *pass, p *bridge.Publication) (err error) {
	p.Channels, err = readChannels(said.targets, by)
	if err == nil && p.Type == bridge.Send {
		p.Receivers, err = s.receivers(said.targets, len(p.Channels))
	}
	return err
}

// say publishes, unless the gateway is stopping. An error of the bus names the call.
func (s *Server) say(sender *bridge.Sender, p bridge.Publication) (ulid.ULID, error) {
	if !s.gate.enter() {
		return ulid.ULID{}, errStopping()
	}
	defer s.gate.leave()
	id, err := s.hub.Publish(sender, p)
	var refusal *bridge.Error
	if errors.As(err, &refusal) && refusal.Code == bridge.BusFailed {
		err = fault(refusal.Code, refusal.Field, "%s failed: %s", p.Type, refusal.Detail)
	}
	return id, err
}

// readHops reads callback.HopsHeader.
func readHops(r *nethttp.Request) (uint8, error) {
	text := r.Header.Get(callback.HopsHeader)
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		return 0, fault(bridge.InvalidField, callback.HopsHeader, "%q is not a whole number", bridge.Shorten(text))
	}
	if n > maxHops {
		return 0, fault(looping, callback.HopsHeader, "is %d, the limit is %d: a callback posts to a gateway that calls back", n, maxHops)
	}
	return uint8(n), nil
}

// known returns the names of a call's fields or parameters.
func known(t bridge.Type, names ...string) []string {
	names = append(names, "sender", "channels", "callback_url", "report", "ttl")
	if t == bridge.Send {
		names = append(names, "receivers")
	}
	return names
}

// readSpoken reads a broadcast or send: a JSON body, or the message's bytes with everything
// else in the query (docs/http.md, "Messages").
func (s *Server) readSpoken(r *nethttp.Request, t bridge.Type) (spoken, error) {
	media, err := mediaType(r)
	if err != nil {
		return spoken{}, err
	}
	q := parseQuery(r)
	asJSON := media == "" || media == typeJSON
	switch {
	case q.Has("channels") && asJSON:
		return spoken{}, s.refuseMixed(r, q)
	case q.Has("channels"):
		return s.readRaw(r, t, media, q)
	case !asJSON && media != typeForm:
		return spoken{}, fault(unsupportedType, "Content-Type", "%q is taken as the message's bytes only with ?channels=5&sender=72 in the query; else send application/json", bridge.Shorten(media))
	}
	sender, body, err := s.speaker(r, known(t, "message")...)
	if err != nil {
		return spoken{}, err
	}
	said, err := spokenIn(sender, body)
	if err != nil {
		return spoken{}, err
	}
	address, found, err := body.text("callback_url")
	if err != nil || found && address == "" {
		return spoken{}, fault(callback.InvalidURL, "callback_url", "is not an http or https URL")
	}
	said.report = address
	said.answer, err = body.flag("report", false)
	return said, oneReport(said, err)
}

// spokenIn reads the message and its lifetime from a JSON object.
func spokenIn(sender *bridge.Sender, body object) (said spoken, err error) {
	said = spoken{sender: sender, targets: body}
	if said.content, err = body.content(); err != nil {
		return spoken{}, err
	}
	if raw, found := body["ttl"]; found {
		said.ttl, err = parseTTL(string(raw))
	}
	return said, err
}

// refuseMixed refuses a JSON body with channels in the query, which is ambiguous. A wrong
// sender is refused first.
func (s *Server) refuseMixed(r *nethttp.Request, q query) error {
	if q.Has("sender") {
		id, err := q.sender()
		if _, err := s.authorize(r, id, err); err != nil {
			return err
		}
	} else {
		in := &body{limit: s.largestBody()}
		said, err := s.readObject(r, in)
		if err != nil {
			return err
		}
		if _, err := s.speakerIn(r, in, said); err != nil {
			return err
		}
	}
	return fault(bridge.InvalidField, "channels", "is in the query of a JSON body: put it into the body, or send the message's own bytes with another Content-Type, such as application/octet-stream")
}

// parseTTL reads a message's lifetime in seconds.
func parseTTL(text string) (time.Duration, error) {
	n, ok := parseNumber(text)
	if !ok {
		return 0, fault(bridge.InvalidField, "ttl", "%s is not a whole number of seconds from 1 to 4294967295", bridge.Shorten(text))
	}
	return time.Duration(n) * time.Second, nil
}

// readRaw reads a message from a body of any type, and everything else from the query.
func (s *Server) readRaw(r *nethttp.Request, t bridge.Type, media string, q query) (spoken, error) {
	in := &body{limit: s.largestBody(), query: &q}
	data, err := s.readBody(r, in)
	if err != nil {
		return spoken{}, err
	}
	sender, err := s.speakerIn(r, in, q)
	if err != nil {
		return spoken{}, err
	}
	if err := q.only(known(t)...); err != nil {
		return spoken{}, err
	}
	said := spoken{sender: sender, targets: q, content: bridge.Content{Data: data}, report: q.Get("callback_url")}
	if strings.HasPrefix(media, "text/") && utf8.Valid(data) {
		said.content.Hint = bridge.Text
	}
	if q.Has("callback_url") && said.report == "" {
		return spoken{}, fault(callback.InvalidURL, "callback_url", "is empty: leave it out, or give an http or https URL")
	}
	if q.Has("ttl") {
		if said.ttl, err = parseTTL(q.Get("ttl")); err != nil {
			return spoken{}, err
		}
	}
	said.answer, err = q.flag("report", false)
	return said, oneReport(said, err)
}

// oneReport refuses a report in the answer and at a URL too, unless there is an error.
func oneReport(said spoken, err error) error {
	if err == nil && said.answer && said.report != "" {
		return fault(bridge.InvalidField, "report", "is true, and the report would go to callback_url: leave one of them out")
	}
	return err
}
