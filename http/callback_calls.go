package http

import (
	"cmp"
	"fmt"
	"maps"
	nethttp "net/http"
	"net/url"
	"slices"
	"time"

	"watchtower/bridge"
)

// callbackView is a callback as its sender sees it.
type callbackView struct {
	URL          string           `json:"callback_url"`
	Channels     []bridge.Channel `json:"channels"`
	State        string           `json:"state"` // ok, failing, disabled
	Reason       string           `json:"reason,omitempty"`
	DisabledAt   *time.Time       `json:"disabled_at,omitempty"`
	FailingSince *time.Time       `json:"failing_since,omitempty"`
	LastTaken    *time.Time       `json:"last_delivered_at,omitempty"`
	LastError    *attemptView     `json:"last_error,omitempty"`
	Waiting      int              `json:"waiting"`
	Failed       []failedView     `json:"failed"`
}

type attemptView struct {
	Time   time.Time `json:"time"`
	Detail string    `json:"detail"`
}

// failedView is a delivery that was given up and can be replayed.
type failedView struct {
	ID      string         `json:"id"`
	Channel bridge.Channel `json:"channel"`
	Time    time.Time      `json:"time"`
	Detail  string         `json:"detail"`
}

// listCallbacks answers GET /callbacks. A URL may hold a secret, and everybody on
// a channel knows its senders' ids: so it is shown whole against the token alone.
func (s *Server) listCallbacks(w nethttp.ResponseWriter, r *nethttp.Request) error {
	sender, _, err := s.asker(r, "sender")
	if err != nil {
		return err
	}
	list := s.callbacks.list(sender)
	if bearer(r) == "" {
		for i := range list {
			list[i].URL = originOf(list[i].URL)
		}
	}
	return s.answer(w, struct {
		Callbacks []callbackView `json:"callbacks"`
	}{list})
}

// originOf cuts off what follows a URL's host.
func originOf(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return ""
	}
	return u.Scheme + "://" + u.Host + "/…"
}

func (c *callbacks) list(s *bridge.Sender) []callbackView {
	c.mu.Lock()
	defer c.mu.Unlock()
	views := []callbackView{}
	for _, e := range c.shares.endpoints(s) {
		if e.shown() {
			views = append(views, e.view())
		}
	}
	slices.SortFunc(views, func(a, b callbackView) int { return cmp.Compare(a.URL, b.URL) })
	return views
}

func (e *endpoint) view() callbackView {
	v := callbackView{
		URL: e.key.url, Channels: slices.AppendSeq([]bridge.Channel{}, maps.Keys(e.attached)), State: e.status(), Reason: e.state.Reason,
		DisabledAt: shownTime(e.state.Disabled), FailingSince: shownTime(e.state.FailingSince), LastTaken: shownTime(e.lastTaken),
		Waiting: len(e.waiting), Failed: []failedView{},
	}
	slices.Sort(v.Channels)
	if e.current != nil {
		v.Waiting++
	}
	if e.state.LastError != "" {
		v.LastError = &attemptView{e.state.LastErrorAt.UTC(), e.state.LastError}
	}
	for _, d := range e.failed {
		v.Failed = append(v.Failed, failedView{d.id, d.channel, d.said.UTC(), d.why})
	}
	return v
}

func shownTime(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

// owner reads a call about one callback: whose it is, and its URL.
func (s *Server) owner(r *nethttp.Request, besides ...string) (*bridge.Sender, string, object, error) {
	sender, body, err := s.speaker(r, append([]string{"sender", "callback_url"}, besides...)...)
	if err != nil {
		return nil, "", nil, err
	}
	address, err := body.callbackURL("it is the URL of the join")
	return sender, address, body, err
}

// rotateSecret answers POST /callbacks/rotate, once the new secret is on disk. Who
// knows an id alone may not take a receiver its secret.
func (s *Server) rotateSecret(w nethttp.ResponseWriter, r *nethttp.Request) error {
	sender, address, _, err := s.owner(r)
	if err != nil {
		return err
	}
	if bearer(r) == "" {
		return fault(bridge.InvalidToken, "Authorization", "is missing: a secret is rotated only with the token of sender %d (Authorization: Bearer …), as POST /register returned it", sender.ID())
	}
	c := s.callbacks
	c.mu.Lock()
	e := c.endpoints[endpointKey{sender, address}]
	if e == nil || !e.listed {
		c.mu.Unlock()
		return errNoCallback(sender)
	}
	if !e.state.rotate(c.now(), c.opts.RotationOverlap) {
		c.mu.Unlock()
		return waits{
			fault(tooManyRequests, "callback_url", "was rotated %d times within callbacks.rotation_overlap (%s), and all these secrets sign still: wait", mostEarlier+1, c.opts.RotationOverlap),
			max(1, int(c.opts.RotationOverlap.Seconds())),
		}
	}
	c.changedLocked(e)
	c.mu.Unlock()
	if c.keeper != nil {
		if err := c.keeper.save(); err != nil {
			s.log.WithError(err).Error("callbacks not written: trying again")
			return fault(bridge.StoreFailed, "", "the new secret could not be written to disk: it is in force, and may be lost with a restart")
		}
	}
	return s.answer(w, struct {
		Secret string `json:"secret"`
	}{c.secret(sender, address)})
}

// errNoCallback does not repeat the URL, which may hold a secret.
func errNoCallback(s *bridge.Sender) error {
	return fault(invalidCallbackURL, "callback_url", "is no callback of sender %d: GET /callbacks lists them", s.ID())
}

// known reports whether a sender has, or had, a callback with this URL.
func (c *callbacks) known(s *bridge.Sender, address string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.endpoints[endpointKey{s, address}]
	return e != nil && e.listed
}

// secret returns a callback's secret in force as it is shown.
func (c *callbacks) secret(s *bridge.Sender, address string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	key, rotations := endpointKey{s, address}, uint32(0)
	if e := c.endpoints[key]; e != nil {
		rotations = e.state.Secret
	}
	return shown(c.signer.secret(key, rotations))
}

// replayFailed answers POST /callbacks/replay: deliveries that were given up wait
// again, in their order, behind what waits already.
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
	n, err := s.callbacks.replay(endpointKey{sender, address}, ids)
	if err != nil {
		return err
	}
	return s.answer(w, struct {
		Replayed int `json:"replayed"`
	}{n})
}

// replay queues what was given up again: those of ids, or all. All or nothing.
func (c *callbacks) replay(key endpointKey, ids []string) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.endpoints[key]
	switch {
	case e == nil || !e.listed:
		return 0, errNoCallback(key.sender)
	case e.disabled():
		return 0, fault(invalidCallbackURL, "callback_url", "is disabled, because %s: join again first", e.state.Reason)
	}
	for i, id := range ids {
		if !slices.ContainsFunc(e.failed, func(d *delivery) bool { return d.id == id }) {
			return 0, fault(invalidField, fmt.Sprintf("ids[%d]", i), "%q is no failed delivery of this callback: GET /callbacks lists them", shorten(id))
		}
	}
	chosen := func(d *delivery) bool {
		return e.attached[d.channel] != nil && (ids == nil || slices.Contains(ids, d.id))
	}
	n := 0
	for _, d := range e.failed {
		if chosen(d) {
			n++
		}
	}
	if len(e.waiting)+n > c.opts.Queue {
		return 0, fault(invalidField, "ids", "%d deliveries and the %d that wait are more than callbacks.queue (%d): replay fewer", n, len(e.waiting), c.opts.Queue)
	}
	for _, old := range e.takeFailed(chosen) {
		again := *old
		again.to, again.why = e.attached[old.channel], ""
		e.push(&again)
	}
	c.workLocked(e)
	c.changedLocked(e)
	return n, nil
}
