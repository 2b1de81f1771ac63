package callback

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"watchtower/bridge"
)

// Listed is a callback in the list of all senders' callbacks. Its View has no failed
// deliveries.
type Listed struct {
	Key    string // the same over restarts; it does not reveal the URL
	Sender *bridge.Sender
	View
	GivenUp int // failed deliveries, which can be replayed
}

// senderOf returns the sender in a callback's key.
func senderOf(key string) (bridge.SenderID, bool) {
	text, _, _ := strings.Cut(key, "-")
	id, ok := bridge.ParseID(text)
	return bridge.SenderID(id), ok
}

// Page lists at most limit callbacks of all senders, by their senders' ids, beginning with a
// key (empty: from the start). State is one of View.State, or empty for all. Next is the key
// where the following page begins. It takes the lock for one sender at a time.
func (c *Service) Page(from, state string, limit int) (page []Listed, next string) {
	first, _ := senderOf(from)
	c.mu.Lock()
	senders := make([]*bridge.Sender, 0, len(c.shares.of))
	for s := range c.shares.of {
		if s.ID() >= first {
			senders = append(senders, s)
		}
	}
	c.mu.Unlock()
	slices.SortFunc(senders, func(a, b *bridge.Sender) int { return cmp.Compare(a.ID(), b.ID()) })
	for _, s := range senders {
		of := c.listed(s, state)
		if s.ID() == first {
			of = slices.DeleteFunc(of, func(l Listed) bool { return l.Key < from })
		}
		page = append(page, of...)
		if len(page) > limit {
			return page[:limit], page[limit].Key
		}
	}
	return page, ""
}

// listed returns a sender's callbacks by their keys.
func (c *Service) listed(s *bridge.Sender, state string) (list []Listed) {
	c.mu.Lock()
	for _, e := range c.shares.endpoints(s) {
		if e.shown() && (state == "" || state == e.status()) {
			l := Listed{Key: c.signer.keyOf(e.key), Sender: s, View: c.viewLocked(e)}
			l.GivenUp, l.Failed = len(l.Failed), nil
			list = append(list, l)
		}
	}
	c.mu.Unlock()
	slices.SortFunc(list, func(a, b Listed) int { return strings.Compare(a.Key, b.Key) })
	return list
}

// Find returns the sender and the URL of a callback's key.
func (c *Service) Find(key string) (s *bridge.Sender, url string, ok bool) {
	id, ok := senderOf(key)
	if !ok {
		return nil, "", false
	}
	if s, ok = c.hub.SenderByID(id); !ok {
		return nil, "", false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range c.shares.endpoints(s) {
		if e.shown() && c.signer.keyOf(e.key) == key {
			return s, e.key.url, true
		}
	}
	return nil, "", false
}

// Disabled is the fault of a callback that the gateway has disabled.
const Disabled bridge.Code = "callback-disabled"

// Switch switches a callback off or on, and returns once that is on disk. While it is off,
// nothing is posted, and messages wait as for a receiver that does not answer. Its sender
// stays on the channels. A callback that the gateway has disabled needs another join.
func (c *Service) Switch(s *bridge.Sender, url string, on bool) error {
	c.mu.Lock()
	e := c.endpoints[endpointKey{sender: s, url: url}]
	switch {
	case e == nil || !e.listed:
		c.mu.Unlock()
		return errNoCallback(s)
	case e.disabled():
		c.mu.Unlock()
		return fault(Disabled, "callback_url", "is disabled, because %s: its sender has to join again", e.state.Reason)
	case on && e.off():
		e.state.Off, e.state.FailingSince = time.Time{}, time.Time{}
		c.workLocked(e)
	case !on && !e.off():
		e.state.Off = c.now().Round(0)
		if e.phase == lined || e.phase == pausing {
			c.parkLocked(e)
			c.goOnLocked()
		}
	}
	c.changedLocked(e)
	c.mu.Unlock()
	if c.keeper != nil {
		if err := c.keeper.save(); err != nil {
			c.log.WithError(err).Error("callbacks not written: trying again")
			return fault(bridge.StoreFailed, "", "the change could not be written to disk: it is in force, and may be lost with a restart")
		}
	}
	return nil
}

// Changes returns a number that is another one after a change of any callback.
func (c *Service) Changes() uint64 { return c.changes.Load() }
