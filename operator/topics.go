package operator

import (
	"context"
	"errors"
	"io"
	"mime"
	nethttp "net/http"
	"strconv"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"watchtower/bridge"
)

// Topics are the broker's retained topics. Errors about a request are *bridge.Error.
type Topics interface {
	// Levels lists the levels directly below a prefix, in their order, beginning with from.
	// The prefix is empty or ends with a slash. Next is where the next page begins.
	Levels(prefix, from string, limit int) (page []Level, next string)
	// Retained returns a topic's retained message; nil: there is none.
	Retained(topic string) *Retained
	// Check returns why a text is no topic; nil: it is one.
	Check(topic string) error
	// MayPublish returns why nobody may publish on a topic; nil: everybody may.
	MayPublish(topic string) error
	// Publish publishes in the name of a sender.
	Publish(ctx context.Context, s *bridge.Sender, p Publication) error
	// Remove removes a topic's retained message, or those of all topics that begin with a
	// prefix. It returns their number.
	Remove(ctx context.Context, topic string, below bool) (int, error)
	// ReadBody reads a message of a sender, up to the largest one.
	ReadBody(r io.Reader, s *bridge.Sender) ([]byte, error)
}

// Level is one level of topics.
type Level struct {
	Name     string
	Below    int       // retained topics below it
	Retained *Retained // of the topic that ends with it; nil: none
}

// Retained is a retained message.
type Retained struct {
	Data []byte
	Hint bridge.Hint
	QoS  byte
	Time time.Time // zero: before the gateway's last start
}

// Publication is a message to be published on a topic.
type Publication struct {
	Topic       string
	Data        []byte
	ContentType string // empty: bytes
	Voice       bridge.Voice
	QoS         byte
	Retain      bool
}

// level is a Level as it is shown.
type level struct {
	Level    string    `json:"level"`
	Below    int       `json:"below"`
	Retained *retained `json:"retained,omitempty"`
}

type retained struct {
	Bytes int        `json:"bytes"`
	Time  *time.Time `json:"time,omitempty"`
	QoS   byte       `json:"qos"`
	Kind  string     `json:"kind"`
	Text  string     `json:"text"`
}

func showRetained(m *Retained) *retained {
	if m == nil {
		return nil
	}
	r := &retained{Bytes: len(m.Data), QoS: m.QoS}
	if !m.Time.IsZero() {
		at := m.Time.UTC()
		r.Time = &at
	}
	r.Kind, r.Text = describe(m.Hint, m.Data)
	return r
}

// listTopics answers GET /operator/topics.
func (s *Service) listTopics(w nethttp.ResponseWriter, r *request) error {
	if err := onlyQuery(r, "under", "from", "limit"); err != nil {
		return err
	}
	q := r.URL.Query()
	under, err := s.prefix(q.Get("under"))
	if err != nil {
		return err
	}
	limit, err := pageSize(q.Get("limit"))
	if err != nil {
		return err
	}
	page, next := s.opts.Topics.Levels(under, q.Get("from"), limit)
	list := make([]level, 0, len(page))
	for _, l := range page {
		list = append(list, level{l.Name, l.Below, showRetained(l.Retained)})
	}
	return s.answer(w, struct {
		Topics []level `json:"topics"`
		Next   string  `json:"next,omitempty"`
	}{list, next})
}

// prefix checks the query parameter under.
func (s *Service) prefix(under string) (string, error) {
	switch {
	case under == "":
		return "", nil
	case !strings.HasSuffix(under, "/"):
		return "", fault(invalidQuery, "under", "must be empty or end with /, such as zigbee2mqtt/, is %q", bridge.Shorten(under))
	}
	return under, renamed("under", s.opts.Topics.Check(under))
}

// renamed returns an error about a topic with the name of the parameter that has it.
func renamed(field string, err error) error {
	var refusal *bridge.Error
	if errors.As(err, &refusal) && refusal.Field == "topic" {
		return fault(refusal.Code, field, "%s", refusal.Detail)
	}
	return err
}

// topic returns the query parameter topic.
func (s *Service) topic(r *request) (string, error) {
	q := r.URL.Query()
	if !q.Has("topic") {
		return "", fault(invalidQuery, "topic", "is missing")
	}
	return q.Get("topic"), s.opts.Topics.Check(q.Get("topic"))
}

// showTopic answers GET /operator/topics/value with the bytes.
func (s *Service) showTopic(w nethttp.ResponseWriter, r *request) error {
	if err := onlyQuery(r, "topic"); err != nil {
		return err
	}
	topic, err := s.topic(r)
	if err != nil {
		return err
	}
	m := s.opts.Topics.Retained(topic)
	if m == nil {
		return fault(notFound, "topic", "nothing is retained on %s", bridge.Shorten(topic))
	}
	h := w.Header()
	h.Set("Watchtower-QoS", strconv.Itoa(int(m.QoS)))
	if !m.Time.IsZero() {
		h.Set("Watchtower-Time", m.Time.UTC().Format("2006-01-02T15:04:05.000Z07:00"))
	}
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Content-Length", strconv.Itoa(len(m.Data)))
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(nethttp.StatusOK)
	for b, out := m.Data, (&paced{w, nethttp.NewResponseController(w), s.opts.WriteTimeout}); len(b) > 0; {
		n := min(len(b), 64<<10)
		if _, err := out.Write(b[:n]); err != nil {
			panic(nethttp.ErrAbortHandler) // the client has gone, or is too slow
		}
		b = b[n:]
	}
	return nil
}

// The media types of a message on a topic. All but the first go on to MQTT 5 clients.
var topicTypes = map[string]string{
	"application/octet-stream": "", "application/json": "application/json", "text/plain": "text/plain; charset=utf-8",
}

// publication reads how a PUT wants its body to be published. Without parameters the message
// is retained, at QoS 1.
func (s *Service) publication(r *request) (p Publication, err error) {
	if err := onlyQuery(r, "topic", "retain", "qos"); err != nil {
		return p, err
	}
	p.QoS, p.Retain = 1, true
	if p.Topic, err = s.topic(r); err != nil {
		return p, err
	}
	q := r.URL.Query()
	if q.Has("retain") {
		if p.Retain = q.Get("retain") == "true"; !p.Retain && q.Get("retain") != "false" {
			return p, fault(invalidQuery, "retain", "must be true or false, is %q", bridge.Shorten(q.Get("retain")))
		}
	}
	if q.Has("qos") {
		n, err := strconv.ParseUint(q.Get("qos"), 10, 8)
		if err != nil || n > 2 {
			return p, fault(invalidQuery, "qos", "must be 0, 1 or 2, is %q", bridge.Shorten(q.Get("qos")))
		}
		p.QoS = byte(n)
	}
	if given := r.Header.Get("Content-Type"); given != "" {
		media, _, err := mime.ParseMediaType(given)
		known := false
		if p.ContentType, known = topicTypes[media]; err != nil || !known {
			return p, fault(unsupportedType, "Content-Type", "must be application/octet-stream, application/json or text/plain, is %q", bridge.Shorten(given))
		}
	}
	return p, s.opts.Topics.MayPublish(p.Topic)
}

// publishTopic answers PUT /operator/topics/value. A page of another origin cannot send it:
// PUT always needs a CORS preflight request, which is refused.
func (s *Service) publishTopic(w nethttp.ResponseWriter, r *request) error {
	p, err := s.publication(r)
	if err != nil {
		return err
	}
	speaker, err := s.speakers.of(r.caller)
	if err != nil {
		return err
	}
	p.Voice = r.voice()
	p.Data, err = s.opts.Topics.ReadBody(r.Body, speaker)
	switch {
	case errors.As(err, new(*bridge.Error)):
		return err
	case err != nil:
		return fault(invalidBody, "", "the body did not arrive")
	case p.Retain && len(p.Data) == 0:
		return fault(invalidBody, "", "is empty, which removes a retained message: use DELETE, or retain=false")
	}
	err = s.opts.Topics.Publish(r.Context(), speaker, p)
	var waiting *bridge.Unconfirmed
	if err != nil && !errors.As(err, &waiting) {
		return err
	}
	s.did(r, "operator published on a topic", logrus.Fields{"topic": bridge.Shorten(p.Topic), "bytes": len(p.Data), "retain": p.Retain})
	if waiting != nil {
		s.write(w, nethttp.StatusAccepted, "application/json", map[string]int{"confirmed": waiting.Confirmed, "of": waiting.Of})
		return nil
	}
	return s.done(w)
}

// removeTopics answers DELETE /operator/topics/value.
func (s *Service) removeTopics(w nethttp.ResponseWriter, r *request) error {
	if err := onlyQuery(r, "topic", "under"); err != nil {
		return err
	}
	q := r.URL.Query()
	if q.Has("topic") == q.Has("under") {
		return fault(invalidQuery, "topic", "give one of topic and under")
	}
	below := q.Has("under")
	var topic string
	var err error
	if below {
		if topic, err = s.prefix(q.Get("under")); err == nil && topic == "" {
			err = fault(invalidQuery, "under", "must not be empty here: it would remove everything")
		}
	} else {
		topic, err = s.topic(r)
	}
	if err != nil {
		return err
	}
	removed, err := s.opts.Topics.Remove(r.Context(), topic, below)
	if below {
		err = renamed("under", err)
	}
	if err != nil {
		return err
	}
	s.did(r, "operator removed retained messages", logrus.Fields{"topic": bridge.Shorten(topic), "below": below, "removed": removed})
	return s.answer(w, struct {
		Removed int `json:"removed"`
	}{removed})
}
