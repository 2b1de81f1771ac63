package callback

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/oklog/ulid/v2"

	"watchtower/bridge"
)

// View is a callback as its sender sees it.
type View struct {
	URL          string           `json:"callback_url"`
	Channels     []bridge.Channel `json:"channels"`
	State        string           `json:"state"` // ok, failing, disabled, off
	Reason       string           `json:"reason,omitempty"`
	DisabledAt   *time.Time       `json:"disabled_at,omitempty"`
	OffSince     *time.Time       `json:"off_since,omitempty"`
	FailingSince *time.Time       `json:"failing_since,omitempty"`
	LastTaken    *time.Time       `json:"last_delivered_at,omitempty"`
	LastError    *Attempt         `json:"last_error,omitempty"`
	Waiting      int              `json:"waiting"`
	Failed       []Failed         `json:"failed"`
}

// Attempt is a failed attempt.
type Attempt struct {
	Time   time.Time `json:"time"`
	Detail string    `json:"detail"`
}

// Failed is a delivery that was given up and can be replayed.
type Failed struct {
	ID      string         `json:"id"`
	Channel bridge.Channel `json:"channel"`
	Time    time.Time      `json:"time"`
	Detail  string         `json:"detail"`
}

// List returns the callbacks of a sender, by their URLs.
func (c *Service) List(s *bridge.Sender) []View {
	c.mu.Lock()
	defer c.mu.Unlock()
	views := []View{}
	for _, e := range c.shares.endpoints(s) {
		if e.shown() {
			views = append(views, c.viewLocked(e))
		}
	}
	slices.SortFunc(views, func(a, b View) int { return cmp.Compare(a.URL, b.URL) })
	return views
}

// viewLocked returns a callback as all gateways show it.
func (c *Service) viewLocked(e *endpoint) View {
	v := e.view()
	if c.together != nil {
		c.together.shownLocked(e, &v)
	}
	return v
}

func (e *endpoint) view() View {
	v := View{
		URL: e.key.url, Channels: slices.AppendSeq([]bridge.Channel{}, maps.Keys(e.attached)), State: e.status(), Reason: e.state.Reason,
		DisabledAt: shownTime(e.state.Disabled), OffSince: shownTime(e.state.Off), FailingSince: shownTime(e.state.FailingSince), LastTaken: shownTime(e.lastTaken),
		Waiting: len(e.waiting), Failed: []Failed{},
	}
	slices.Sort(v.Channels)
	if e.current != nil {
		v.Waiting++
	}
	if e.state.LastError != "" {
		v.LastError = &Attempt{e.state.LastErrorAt.UTC(), e.state.LastError}
	}
	for _, d := range e.failed {
		v.Failed = append(v.Failed, Failed{d.id, d.channel, d.said.UTC(), d.why})
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

// TooSoon refuses a rotation for now: too many secrets still sign.
type TooSoon struct {
	Refusal *bridge.Error
	Wait    time.Duration
}

func (t TooSoon) Error() string { return t.Refusal.Error() }

// Rotate gives a callback a new secret, and returns the secret once it is on disk.
func (c *Service) Rotate(s *bridge.Sender, url string) (secret string, err error) {
	if err := c.rotate(endpointKey{sender: s, url: url}); err != nil {
		return "", err
	}
	if c.keeper != nil {
		if err := c.keeper.save(); err != nil {
			c.log.WithError(err).Error("callbacks not written: trying again")
			return "", fault(bridge.StoreFailed, "", "the new secret could not be written to disk: it is in force, and may be lost with a restart")
		}
	}
	return c.secret(s, url), nil
}

func (c *Service) rotate(key endpointKey) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.endpoints[key]
	if e == nil || !e.listed {
		return errNoCallback(key.sender)
	}
	if !e.state.rotate(c.now(), c.opts.RotationOverlap) {
		return TooSoon{
			fault(bridge.TooManyRequests, "callback_url", "was rotated %d times within callbacks.rotation_overlap (%s), and all these secrets sign still: wait", mostEarlier+1, c.opts.RotationOverlap),
			c.opts.RotationOverlap,
		}
	}
	c.changedLocked(e)
	return nil
}

// errNoCallback does not repeat the URL, which may hold a secret.
func errNoCallback(s *bridge.Sender) error {
	return fault(InvalidURL, "callback_url", "is no callback of sender %d: GET /callbacks lists them", s.ID())
}

// known reports whether a sender has or had a callback with this URL.
func (c *Service) known(s *bridge.Sender, address string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.endpoints[endpointKey{sender: s, url: address}]
	return e != nil && e.listed
}

// secret returns a callback's current secret in its text form.
func (c *Service) secret(s *bridge.Sender, address string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	key, rotations := endpointKey{sender: s, url: address}, uint32(0)
	if e := c.endpoints[key]; e != nil {
		rotations = e.state.Secret
	}
	return shown(c.signer.secret(key, rotations))
}

// Replay queues failed deliveries again, in order, behind the waiting ones: those with the
// ids, or all if ids is nil. It queues all of them or none, and returns their number.
func (c *Service) Replay(s *bridge.Sender, url string, ids []string) (int, error) {
	key := endpointKey{sender: s, url: url}
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.endpoints[key]
	switch {
	case e == nil || !e.listed:
		return 0, errNoCallback(key.sender)
	case e.disabled():
		return 0, fault(InvalidURL, "callback_url", "is disabled, because %s: join again first", e.state.Reason)
	}
	failed, waiting := c.viewLocked(e).Failed, len(e.waiting)
	for i, id := range ids {
		if !slices.ContainsFunc(failed, func(d Failed) bool { return d.ID == id }) {
			return 0, fault(bridge.InvalidField, fmt.Sprintf("ids[%d]", i), "%q is no failed delivery of this callback: GET /callbacks lists them", bridge.Shorten(id))
		}
	}
	n := 0
	for _, d := range failed {
		if e.attached[d.Channel] != nil && (ids == nil || slices.Contains(ids, d.ID)) {
			n++
		}
	}
	if waiting+n > c.opts.Queue {
		return 0, fault(bridge.InvalidField, "ids", "%d deliveries and the %d that wait are more than callbacks.queue (%d): replay fewer", n, waiting, c.opts.Queue)
	}
	if e.elsewhere {
		c.together.changeLocked(e.key).replay = &replayed{At: c.now().UnixNano(), IDs: ids}
		return n, nil
	}
	c.replayLocked(e, ids)
	return n, nil
}

// replayLocked queues failed deliveries again, behind the waiting ones: those with the ids, or all if
// ids is nil.
func (c *Service) replayLocked(e *endpoint, ids []string) {
	chosen := func(d *delivery) bool {
		return e.attached[d.channel] != nil && (ids == nil || slices.Contains(ids, d.id))
	}
	for _, old := range e.takeFailed(chosen) {
		again := *old
		again.to, again.why, again.mid = e.attached[old.channel], "", ulid.ULID{}
		e.push(&again)
	}
	c.workLocked(e)
	c.changedLocked(e)
}

// Allow replaces the list of hosts, addresses and CIDRs that callbacks may reach although
// they are closed otherwise (Options.Allow). On an error nothing changes.
func (c *Service) Allow(entries []string) error {
	allowed, err := newAllowList(entries)
	if err != nil {
		return err
	}
	c.policy.allowed.Store(allowed)
	return nil
}

// CheckURL returns why a URL is refused for deliveries; nil: it is not.
func (c *Service) CheckURL(ctx context.Context, url string) error { return c.policy.checkURL(ctx, url) }
