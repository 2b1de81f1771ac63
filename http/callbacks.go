package http

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	nethttp "net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/sirupsen/logrus"

	"watchtower/bridge"
)

// callbacks posts messages and delivery reports. What waits for one URL of one
// sender is an endpoint: it exists, and has a goroutine, only while something
// does.
type callbacks struct {
	hub    *bridge.Hub
	opts   CallbackOptions
	log    *logrus.Logger
	poster *poster
	ctx    context.Context // ends the attempts in progress
	cancel context.CancelFunc

	mu        sync.Mutex
	endpoints map[endpointKey]*endpoint
	closed    bool
	workers   sync.WaitGroup
}

type endpointKey struct {
	sender *bridge.Sender
	url    string
}

// endpoint is what waits for one URL, in its order. Guarded by callbacks.mu.
type endpoint struct {
	waiting []delivery
	bytes   int
}

// delivery is one body on its way.
type delivery struct {
	to   *callback
	body []byte // shared, not to be changed
	hops uint8  // callbacks the message had been through before

	id      string          // the same in every attempt
	message *bridge.Message // nil: a delivery report
}

// callback is the member that a callback's attachment is for, or whoever gets
// a delivery report.
type callback struct {
	key   endpointKey
	ended chan struct{} // closed when the attachment has; nil: never
}

func (c *callback) hasEnded() bool {
	select {
	case <-c.ended:
		return true
	default:
		return false
	}
}

func newCallbacks(hub *bridge.Hub, opts CallbackOptions, policy *addressPolicy, log *logrus.Logger) *callbacks {
	c := &callbacks{hub: hub, opts: opts, log: log, poster: newPoster(opts, policy), endpoints: map[endpointKey]*endpoint{}}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c
}

// attachment makes a callback for one channel.
func (c *callbacks) attachment(s *bridge.Sender, url string, noEcho bool) *bridge.Attachment {
	to := &callback{key: endpointKey{s, url}, ended: make(chan struct{})}
	return &bridge.Attachment{
		Via: bridge.HTTP, Broadcasts: true, Sends: true, NoEcho: noEcho, URL: url,
		Member: to, Ended: func() { c.end(to) },
	}
}

// restore attaches the callbacks that the hub remembers.
func (c *callbacks) restore() {
	c.hub.RestoreCallbacks(func(s *bridge.Sender, m bridge.CallbackMembership) {
		// Not JoinCallback: that would write what was just read, one by one.
		if err := c.hub.Attach(s, m.Channel, c.attachment(s, m.URL, m.NoEcho)); err != nil {
			c.log.WithError(err).WithFields(logrus.Fields{"sender": s.ID(), "channel": m.Channel}).Warn("callback not restored")
		}
	})
}

// put queues a delivery. It reports false, and counts the drop, if there is no
// room.
func (c *callbacks) put(d delivery) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch e := c.endpoints[d.to.key]; {
	case c.closed:
		c.drop(bridge.Failed, 1)
		return false
	case d.to.hasEnded():
		c.drop(bridge.Disconnected, 1)
		return false
	case e == nil && len(c.endpoints) >= c.opts.MaxActive:
		c.drop(bridge.QueueFull, 1)
		return false
	case e == nil:
		e = &endpoint{waiting: []delivery{d}, bytes: len(d.body)}
		c.endpoints[d.to.key] = e
		c.workers.Go(func() { c.work(d.to.key, e) })
		return true
	case len(e.waiting) >= c.opts.Queue, len(e.waiting) > 0 && e.bytes+len(d.body) > c.opts.Bytes:
		c.drop(bridge.QueueFull, 1)
		return false
	default:
		e.waiting = append(e.waiting, d)
		e.bytes += len(d.body)
		return true
	}
}

func (c *callbacks) drop(why bridge.Reason, n int) { c.hub.Counters().Drop(bridge.HTTP, why, n) }

// end discards what waits for a callback whose attachment has ended.
func (c *callbacks) end(to *callback) {
	close(to.ended)
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.endpoints[to.key]
	if e == nil {
		return
	}
	n := len(e.waiting)
	e.waiting = slices.DeleteFunc(e.waiting, func(d delivery) bool {
		if d.to == to {
			e.bytes -= len(d.body)
		}
		return d.to == to
	})
	c.drop(bridge.Disconnected, n-len(e.waiting))
}

// work posts what waits for an endpoint until nothing does.
func (c *callbacks) work(key endpointKey, e *endpoint) {
	for {
		c.mu.Lock()
		if len(e.waiting) == 0 {
			delete(c.endpoints, key)
			c.mu.Unlock()
			return
		}
		d := e.waiting[0]
		e.waiting[0] = delivery{}
		e.waiting = e.waiting[1:]
		e.bytes -= len(d.body)
		c.mu.Unlock()
		c.deliver(d)
	}
}

// deliver posts one body, and again after a while if that fails.
func (c *callbacks) deliver(d delivery) {
	gap := c.opts.RetryGap
	for attempt := 0; ; attempt++ {
		switch {
		case c.ctx.Err() != nil:
			c.drop(bridge.Failed, 1)
			return
		case d.to.hasEnded():
			c.drop(bridge.Disconnected, 1)
			return
		case d.message != nil && d.message.Expired(c.hub.Now()):
			c.drop(bridge.Expired, 1)
			return
		}
		err := c.poster.post(c.ctx, d)
		if err == nil {
			c.hub.Seen(d.to.key.sender)
			return
		}
		c.logFailure(d, attempt, err)
		var answered statusError
		if errors.As(err, &answered) && answered.code == nethttp.StatusGone {
			c.log.WithField("sender", d.to.key.sender.ID()).Warn("callback ended: its receiver answered 410")
			c.drop(bridge.Failed, 1)
			c.hub.EndCallback(d.to.key.sender, d.to.key.url)
			return
		}
		if attempt >= c.opts.Retries {
			c.drop(bridge.Failed, 1)
			return
		}
		c.pause(d.to, max(jitter(gap), answered.after))
		gap *= 2
	}
}

// jitter makes a gap up to a quarter longer, so that receivers that were down do
// not get everything at once.
func jitter(gap time.Duration) time.Duration { return gap + rand.N(gap/4+1) }

// pause waits before a retry, unless there is nothing to retry any more.
func (c *callbacks) pause(to *callback, gap time.Duration) {
	t := time.NewTimer(gap)
	defer t.Stop()
	select {
	case <-t.C:
	case <-to.ended:
	case <-c.ctx.Done():
	}
}

func (c *callbacks) logFailure(d delivery, attempt int, err error) {
	// Not the URL: its path or query may be a secret.
	c.log.WithFields(logrus.Fields{
		"sender": d.to.key.sender.ID(), "attempt": attempt + 1, "refused": refusedByPolicy(err), "why": describe(err),
	}).Debug("callback failed")
}

// drain lets the workers finish until ctx ends. What waits then has failed.
func (c *callbacks) drain(ctx context.Context) {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	stop := context.AfterFunc(ctx, c.cancel)
	c.workers.Wait()
	stop()
	c.cancel()
	c.poster.close()
}

// reporter returns what posts the delivery report of one publication.
func (c *callbacks) reporter(s *bridge.Sender, url string, hops uint8) func(bridge.Report) {
	to := &callback{key: endpointKey{s, url}}
	var once atomic.Bool
	return func(r bridge.Report) {
		if once.Swap(true) {
			return
		}
		body, err := json.Marshal(struct {
			ID       ulid.ULID        `json:"id"`
			Channels []bridge.Channel `json:"channels"`
			Sender   bridge.SenderID  `json:"sender"`
			Offered  map[string]int   `json:"offered"`
			Dropped  map[string]int   `json:"dropped"`
		}{r.ID, r.Channels, r.Sender, r.Offered, r.Dropped})
		if err != nil { // numbers and plain maps: cannot fail
			c.log.WithError(err).Error("delivery report not encoded")
			return
		}
		c.put(delivery{to: to, body: body, hops: hops, id: "report-" + r.ID.String()})
	}
}
