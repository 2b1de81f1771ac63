package operator

import (
	nethttp "net/http"
	"slices"
	"time"

	"github.com/sirupsen/logrus"

	"watchtower/bridge"
)

// About is what a gateway says of itself.
type About struct {
	Name, Version string
	Started       time.Time
	Listeners     map[string]string         // host:port by what listens there: mqtt, https
	Hosts         []string                  // names and addresses by which others may reach this machine
	Channels      map[bridge.Channel]string // names, as configured
	BaseTopic     string
}

// showGateway answers GET /operator/gateway.
func (s *Service) showGateway(w nethttp.ResponseWriter, r *request) error {
	if err := onlyQuery(r); err != nil {
		return err
	}
	about := s.opts.About()
	answer := struct {
		Name      string                    `json:"name"`
		Version   string                    `json:"version"`
		Started   time.Time                 `json:"started"`
		Now       time.Time                 `json:"now"`
		Listeners map[string]string         `json:"listeners"`
		Hosts     []string                  `json:"hosts"`
		Channels  map[bridge.Channel]string `json:"channels"`
		BaseTopic string                    `json:"base_topic"`
		Open      bool                      `json:"open"`
		Ready     *problem                  `json:"ready"` // null: it is
		Apart     string                    `json:"cluster_fault,omitempty"`
		Foreign   string                    `json:"remote_fault,omitempty"`
	}{
		about.Name, about.Version, about.Started.UTC(), s.opts.Now().UTC(), about.Listeners, about.Hosts, about.Channels,
		about.BaseTopic, s.opts.Open, nil, textOf(s.opts.Apart()), textOf(s.opts.Foreign()),
	}
	if err := s.opts.Ready(); err != nil {
		p := problemOf(fault(notReady, "", "%s", err))
		answer.Ready = &p
	}
	return s.answer(w, answer)
}

func textOf(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// endMembership answers DELETE /operator/channels/{id}/members/{member}.
func (s *Service) endMembership(w nethttp.ResponseWriter, r *request) error {
	if err := onlyQuery(r); err != nil {
		return err
	}
	c, err := channelOf(r.id)
	if err != nil {
		return err
	}
	id, refusal := s.hub.Receiver(r.member)
	if refusal != nil {
		return fault(bridge.UnknownSender, "member", "%s is no sender's id or name: GET /operator/senders lists them", bridge.Shorten(r.member))
	}
	sender, ok := s.hub.SenderByID(id)
	elsewhere := s.hub.Peers().IsOn(id, c)
	switch {
	case !ok && !elsewhere:
		return fault(bridge.UnknownSender, "member", "%d is unknown", id)
	case !elsewhere && !slices.Contains(s.hub.Joined(sender), c):
		return fault(notFound, "member", "sender %d is not on channel %d", id, c)
	case ok:
		s.hub.Leave(sender, []bridge.Channel{c})
	default: // another gateway's, without a name
		s.hub.Peers().Leave(id, c)
	}
	s.did(r, "operator took a sender off a channel", logrus.Fields{"sender": id, "channel": c})
	return s.done(w)
}

// tellRates gives pages that follow them the latest sample.
func (s *Service) tellRates() {
	if s.pages.none() {
		return
	}
	latest := s.recorder.rates(sampleEvery)
	text := mustJSON(struct {
		Type string `json:"type"`
		rates
	}{"rates", latest})
	s.pages.each(func(p *page) {
		p.mu.Lock()
		if p.rates {
			p.rawLocked(text)
		}
		p.mu.Unlock()
		p.rouse()
	})
}
