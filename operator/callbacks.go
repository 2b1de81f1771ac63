package operator

import (
	"math"
	nethttp "net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"watchtower/bridge"
)

// Callbacks are the callbacks of all senders. Errors about a request are *bridge.Error.
type Callbacks interface {
	// Page lists callbacks by their senders, beginning with a key. State is one of a
	// callback's, or empty for all. Next is the key where the next page begins.
	Page(from, state string, limit int) (page []Callback, next string)
	// Find returns a callback's sender; false: there is no such callback.
	Find(key string) (bridge.SenderID, bool)
	// Replay queues what was given up, and returns the number.
	Replay(key string) (int, error)
	// Rotate returns a new secret. Wait is how long a refused caller has to wait.
	Rotate(key string) (secret string, wait time.Duration, err error)
	// Switch returns once the change is on disk.
	Switch(key string, on bool) error
	// Changes returns a number that changes with any callback.
	Changes() uint64
}

// Callback is a callback as it is shown.
type Callback struct {
	Key          string           `json:"key"`
	Sender       bridge.SenderID  `json:"sender"`
	Name         string           `json:"name,omitempty"`
	URL          string           `json:"url"`
	Channels     []bridge.Channel `json:"channels"`
	State        string           `json:"state"`
	Reason       string           `json:"reason,omitempty"`
	DisabledAt   *time.Time       `json:"disabled_at,omitempty"`
	OffSince     *time.Time       `json:"off_since,omitempty"`
	FailingSince *time.Time       `json:"failing_since,omitempty"`
	LastTaken    *time.Time       `json:"last_delivered_at,omitempty"`
	LastError    *FailedAttempt   `json:"last_error,omitempty"`
	Waiting      int              `json:"waiting"`
	GivenUp      int              `json:"given_up"`
}

// FailedAttempt is the last attempt that failed.
type FailedAttempt struct {
	Time   time.Time `json:"time"`
	Detail string    `json:"detail"`
}

// callbackStates are the states of a callback.
var callbackStates = []string{"ok", "failing", "disabled", "off"}

// listCallbacks answers GET /operator/callbacks. A URL may hold a secret, so only who may
// manage sees more of it than the host.
func (s *Service) listCallbacks(w nethttp.ResponseWriter, r *request) error {
	if err := onlyQuery(r, "state", "from", "limit"); err != nil {
		return err
	}
	q := r.URL.Query()
	if q.Has("state") && q.Get("state") != "" && !slices.Contains(callbackStates, q.Get("state")) {
		return fault(invalidQuery, "state", "must be one of %s, is %q", strings.Join(callbackStates, ", "), bridge.Shorten(q.Get("state")))
	}
	limit, err := pageSize(q.Get("limit"))
	if err != nil {
		return err
	}
	page, next := s.opts.Callbacks.Page(q.Get("from"), q.Get("state"), limit)
	for i := range page {
		if r.role < Manage {
			page[i].URL = hostOf(page[i].URL)
		}
	}
	if page == nil {
		page = []Callback{}
	}
	return s.answer(w, struct {
		Callbacks []Callback `json:"callbacks"`
		Next      string     `json:"next,omitempty"`
	}{page, next})
}

// hostOf cuts a URL after its host.
func hostOf(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return ""
	}
	return u.Scheme + "://" + u.Host + "/…"
}

// onCallback answers a call that acts on one callback, by what do returns; nil: 204.
func (s *Service) onCallback(what string, do func(w nethttp.ResponseWriter, key string) (any, error)) call {
	return func(w nethttp.ResponseWriter, r *request) error {
		if err := onlyQuery(r); err != nil {
			return err
		}
		if _, err := readObject(w, r.Request); err != nil {
			return err
		}
		sender, ok := s.opts.Callbacks.Find(r.id)
		if !ok {
			return fault(notFound, "key", "%s is no callback's key: GET /operator/callbacks lists them", bridge.Shorten(r.id))
		}
		answer, err := do(w, r.id)
		if err != nil {
			return err
		}
		s.did(r, what, logrus.Fields{"sender": sender, "callback": r.id})
		if answer == nil {
			return s.done(w)
		}
		return s.answer(w, answer)
	}
}

func (s *Service) replayCallback(_ nethttp.ResponseWriter, key string) (any, error) {
	n, err := s.opts.Callbacks.Replay(key)
	return struct {
		Replayed int `json:"replayed"`
	}{n}, err
}

func (s *Service) rotateCallback(w nethttp.ResponseWriter, key string) (any, error) {
	secret, wait, err := s.opts.Callbacks.Rotate(key)
	if wait > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(max(1, int(math.Ceil(wait.Seconds())))))
	}
	return struct {
		Secret string `json:"secret"`
	}{secret}, err
}

func (s *Service) switchCallback(on bool) func(nethttp.ResponseWriter, string) (any, error) {
	return func(_ nethttp.ResponseWriter, key string) (any, error) { return nil, s.opts.Callbacks.Switch(key, on) }
}

// tellCallbacks tells pages that follow the callbacks whether any has changed since the
// last call. It returns the present number of changes.
func (s *Service) tellCallbacks(before uint64) uint64 {
	follow := false
	s.pages.each(func(p *page) {
		p.mu.Lock()
		follow = follow || p.callbacks
		p.mu.Unlock()
	})
	if !follow {
		return before
	}
	now := s.opts.Callbacks.Changes()
	if now == before {
		return now
	}
	text := mustJSON(struct {
		Type    string `json:"type"`
		Changed bool   `json:"changed"`
	}{"callbacks", true})
	s.pages.each(func(p *page) {
		p.mu.Lock()
		if p.callbacks {
			p.rawLocked(text)
		}
		p.mu.Unlock()
		p.rouse()
	})
	return now
}
