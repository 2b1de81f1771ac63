package gateway

import (
	"errors"
	"time"

	"watchtower/bridge"
	"watchtower/callback"
	"watchtower/operator"
)

// callbacks are the callbacks of all senders, for operators.
type callbacks struct{ g *Gateway }

func (c callbacks) Page(from, state string, limit int) (page []operator.Callback, next string) {
	list, next := c.g.callbacks.Page(from, state, limit)
	for _, l := range list {
		shown := operator.Callback{
			Key: l.Key, Sender: l.Sender.ID(), Name: l.Sender.Name(), URL: l.URL, Channels: l.Channels, State: l.State, Reason: l.Reason,
			DisabledAt: l.DisabledAt, OffSince: l.OffSince, FailingSince: l.FailingSince, LastTaken: l.LastTaken,
			Waiting: l.Waiting, GivenUp: l.GivenUp,
		}
		if l.LastError != nil {
			shown.LastError = &operator.FailedAttempt{Time: l.LastError.Time, Detail: l.LastError.Detail}
		}
		page = append(page, shown)
	}
	return page, next
}

func (c callbacks) Changes() uint64 { return c.g.callbacks.Changes() }

func (c callbacks) Find(key string) (bridge.SenderID, bool) {
	s, _, ok := c.g.callbacks.Find(key)
	if !ok {
		return 0, false
	}
	return s.ID(), true
}

// on calls do with the sender and the URL of a callback.
func (c callbacks) on(key string, do func(s *bridge.Sender, url string) error) error {
	s, url, ok := c.g.callbacks.Find(key)
	if !ok { // it has gone since the last look
		return &bridge.Error{Code: bridge.UnknownSender, Field: "key", Detail: "the callback has ended"}
	}
	return do(s, url)
}

func (c callbacks) Replay(key string) (n int, err error) {
	err = c.on(key, func(s *bridge.Sender, url string) (err error) {
		n, err = c.g.callbacks.Replay(s, url, nil)
		return err
	})
	return n, err
}

func (c callbacks) Rotate(key string) (secret string, wait time.Duration, err error) {
	err = c.on(key, func(s *bridge.Sender, url string) (err error) {
		secret, err = c.g.callbacks.Rotate(s, url)
		return err
	})
	var soon callback.TooSoon
	if errors.As(err, &soon) {
		return "", soon.Wait, soon.Refusal
	}
	return secret, 0, err
}

func (c callbacks) Switch(key string, on bool) error {
	return c.on(key, func(s *bridge.Sender, url string) error { return c.g.callbacks.Switch(s, url, on) })
}
