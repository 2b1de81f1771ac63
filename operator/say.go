package operator

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	nethttp "net/http"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/oklog/ulid/v2"
	"github.com/sirupsen/logrus"

	"watchtower/bridge"
)

// reportPatience is how long an answer waits for the delivery report.
const reportPatience = 2 * time.Second

// peersPatience is how long the report waits for other gateways.
const peersPatience = reportPatience * 3 / 4

// saying is what an operator says: {"channel":5,"message":…} or "base64" in its place.
type saying struct {
	Channel   bridge.Channel    `json:"channel"`
	Message   json.RawMessage   `json:"message"`
	Base64    *string           `json:"base64"`
	Receivers []json.RawMessage `json:"receivers"` // ids or names; none: everybody
	TTL       int               `json:"ttl"`       // seconds
}

// said is how that went.
type said struct {
	ID      ulid.ULID      `json:"id,omitzero"`
	Sender  uint32         `json:"sender"`
	Offered map[string]int `json:"offered,omitzero"`
	Dropped map[string]int `json:"dropped,omitzero"`
	Missing []string       `json:"missing,omitempty"` // other gateways that have not told their part

	Confirmed int `json:"confirmed,omitempty"` // so many have said it, of those wanted: nobody gets it yet
	Of        int `json:"of,omitempty"`
}

// content returns what is said: text as text, all else of JSON as JSON.
func (s saying) content() (bridge.Content, error) {
	switch {
	case (s.Message == nil) == (s.Base64 == nil):
		return bridge.Content{}, fault(invalidField, "message", "give one of message and base64")
	case s.Base64 != nil:
		data, err := base64.StdEncoding.DecodeString(*s.Base64)
		if err != nil {
			return bridge.Content{}, fault(invalidField, "base64", "is no base64")
		}
		return bridge.Content{Data: data}, nil
	}
	var text string
	if json.Unmarshal(s.Message, &text) == nil && s.Message[0] == '"' {
		if !utf8.ValidString(text) {
			return bridge.Content{}, fault(invalidField, "message", "is no UTF-8")
		}
		return bridge.Content{Hint: bridge.Text, Data: []byte(text)}, nil
	}
	return bridge.Content{Hint: bridge.JSON, Data: s.Message}, nil
}

// speak says something in the name of an operator, who need not be on the channel.
func (s *Service) speak(who caller, what saying) (*said, error) {
	if what.Channel == 0 {
		return nil, fault(bridge.InvalidChannel, "channel", "must be a channel from 1 to 4294967295")
	}
	if what.TTL < 0 {
		return nil, fault(invalidField, "ttl", "must be a number of seconds, is %d", what.TTL)
	}
	content, err := what.content()
	if err != nil {
		return nil, err
	}
	p := bridge.Publication{
		Type: bridge.Broadcast, Channels: []bridge.Channel{what.Channel}, Content: content, Via: Protocol,
		TTL: time.Duration(what.TTL) * time.Second, Wait: true, Outside: true, Voice: who.voice(),
	}
	for i, r := range what.Receivers {
		text := string(r)
		_ = json.Unmarshal(r, &text) // a name, or an id that is written as one
		id, refusal := s.hub.Receiver(text)
		if refusal != nil {
			return nil, fault(bridge.InvalidReceiver, "receivers["+strconv.Itoa(i)+"]", "%s", refusal.Detail)
		}
		p.Type, p.Receivers = bridge.Send, append(p.Receivers, id)
	}
	speaker, err := s.speakers.of(who)
	if err != nil {
		return nil, err
	}
	reported := make(chan bridge.Report, 1)
	p.Report, p.Within = func(r bridge.Report) { reported <- r }, peersPatience
	id, err := s.hub.Publish(speaker, p)
	var waiting *bridge.Unconfirmed
	if errors.As(err, &waiting) {
		return &said{Sender: uint32(speaker.ID()), Confirmed: waiting.Confirmed, Of: waiting.Of}, nil
	}
	if err != nil {
		return nil, err
	}
	answer := &said{ID: id, Sender: uint32(speaker.ID()), Offered: map[string]int{}, Dropped: map[string]int{}}
	select {
	case r := <-reported:
		answer.Offered, answer.Dropped, answer.Missing = r.Offered, r.Dropped, r.Missing
	case <-time.After(reportPatience): // somebody is slow: it was taken all the same
	}
	return answer, nil
}

// postMessage answers POST /operator/channels/{id}/messages.
func (s *Service) postMessage(w nethttp.ResponseWriter, r *request) error {
	if err := onlyQuery(r); err != nil {
		return err
	}
	what := saying{}
	body, err := readObjectOf(w, r.Request, s.sayingBytes(), "message", "base64", "receivers", "ttl")
	if err != nil {
		return err
	}
	if err := body.into(&what); err != nil {
		return err
	}
	if what.Channel, err = channelOf(r.id); err != nil {
		return err
	}
	answer, err := s.speak(r.caller, what)
	if err != nil {
		return err
	}
	s.did(r, "operator said something", logrus.Fields{"channel": what.Channel, "receivers": len(what.Receivers)})
	if answer.Of > 0 {
		s.write(w, nethttp.StatusAccepted, "application/json", answer)
		return nil
	}
	return s.answer(w, answer)
}

// sayingBytes bounds the body of a message: with escapes, six times its bytes.
func (s *Service) sayingBytes() int64 { return int64(6*s.hub.MessageBytes() + bodyBytes) }

// say executes {"say":{…},"ref":1} of a page, which may then be sent to on that channel.
func (p *page) say(a asked) error {
	if p.who.role < Speak {
		return fault(noRole, "say", "this needs the role %s; %s has %s", Speak, p.who.name, p.who.role)
	}
	var what saying
	if err := json.Unmarshal(a.Say, &what); err != nil {
		return fault(invalidField, "say", `must be an object such as {"channel":5,"message":"hello"}`)
	}
	answer, err := p.service.speak(p.who, what)
	if err != nil {
		return err
	}
	p.beReachable(what.Channel)
	p.line(struct {
		Type string          `json:"type"`
		Ref  json.RawMessage `json:"ref,omitempty"`
		*said
	}{"said", a.Ref, answer})
	return nil
}

// beReachable lets devices send to the page's operator on a channel that it listens to.
func (p *page) beReachable(c bridge.Channel) {
	speaker, err := p.service.speakers.of(p.who)
	if err != nil {
		return // it was deleted since
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.listening[c]
	if l == nil || l.answers != nil {
		return
	}
	a := &bridge.Attachment{Via: Protocol, Sends: true, Member: p}
	a.Ended = func() {}
	if p.service.hub.Attach(speaker, c, a) == nil {
		l.answers = a
	}
}
