package http

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	nethttp "net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/sirupsen/logrus"

	"watchtower/bridge"
)

// callbacks posts messages and delivery reports. What there is to know of one URL
// of one sender is an endpoint; it has a goroutine only while something waits
// for it.
type callbacks struct {
	hub    *bridge.Hub
	opts   CallbackOptions
	log    *logrus.Logger
	now    func() time.Time
	poster *poster
	signer signer
	keeper *callbackKeeper // nil: nothing outlives the process
	ctx    context.Context // ends the attempts in progress
	cancel context.CancelFunc

	outcomes [numOutcomes]atomic.Uint64

	mu        sync.Mutex
	endpoints map[endpointKey]*endpoint
	of        map[*bridge.Sender]map[*endpoint]struct{}
	numbers   uint64 // of the newest endpoint
	bytes     int    // of all deliveries
	serving   bool   // goroutines may be started
	closed    bool
	workers   sync.WaitGroup

	slots    chan struct{} // one for each attempt in progress
	stopping chan struct{} // what fails now is left for the next start
}

// outcome is how one attempt at a delivery, or a delivery, ended.
type outcome int

const (
	delivered outcome = iota // the receiver took it
	retried                  // an attempt failed, and another follows
	givenUp                  // no other follows
	tooLate                  // it expired first
	disabled                 // a callback was switched off
	numOutcomes
)

func (o outcome) String() string {
	return [...]string{"delivered", "retried", "failed", "expired", "disabled"}[o]
}

func newCallbacks(hub *bridge.Hub, opts CallbackOptions, policy *addressPolicy, log *logrus.Logger) *callbacks {
	c := &callbacks{
		hub: hub, opts: opts, log: log, now: hub.Now, poster: newPoster(opts, policy), signer: newSigner(opts.SigningKey),
		endpoints: map[endpointKey]*endpoint{}, of: map[*bridge.Sender]map[*endpoint]struct{}{},
		slots: make(chan struct{}, opts.Concurrency), stopping: make(chan struct{}),
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	if opts.Store != nil {
		c.keeper = newCallbackKeeper(c, opts.Store, opts.SaveEvery)
	}
	return c
}

// start begins to post what waited before a restart, and to write what changes.
func (c *callbacks) start() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.serving = true
	for _, e := range c.endpoints {
		c.workLocked(e)
	}
	if c.keeper != nil {
		c.keeper.start()
	}
}

// put queues a delivery. It reports false, and counts the drop, if there is no
// room.
func (c *callbacks) put(to *callback, d *delivery) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	d.to = to
	why, full := bridge.QueueFull, false
	e := c.endpoints[to.key]
	switch {
	case c.closed:
		why, full = bridge.Failed, true
	case to.hasEnded():
		why, full = bridge.Disconnected, true
	case e == nil: // for a delivery report
		if full = c.reportsLocked(to.key.sender) >= c.opts.PerSender; !full {
			e = c.newEndpointLocked(to.key)
			full = !e.hasRoom(d, c.opts)
		}
	case !e.hasRoom(d, c.opts):
		now := c.now()
		c.drop(bridge.Expired, e.discard(func(d *delivery) bool { return d.expired(now) }))
		full = !e.hasRoom(d, c.opts)
	}
	if full {
		c.drop(why, 1)
		if e != nil {
			c.forgetIdleLocked(e)
		}
		return false
	}
	e.push(d)
	c.workLocked(e)
	c.changedLocked(e)
	return true
}

func (c *callbacks) drop(why bridge.Reason, n int) { c.hub.Counters().Drop(bridge.HTTP, why, n) }

func (c *callbacks) count(o outcome, n int) { c.outcomes[o].Add(uint64(n)) }

// queued returns how many deliveries wait or are being tried.
func (c *callbacks) queued() (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range c.endpoints {
		n += len(e.waiting)
		if e.current != nil {
			n++
		}
	}
	return n
}

// workLocked gives an endpoint a goroutine, if something waits and it has none.
func (c *callbacks) workLocked(e *endpoint) {
	if !c.serving || e.working || len(e.waiting) == 0 {
		return
	}
	e.working = true
	c.workers.Go(func() { c.work(e) })
}

// work posts what waits for an endpoint until nothing does.
func (c *callbacks) work(e *endpoint) {
	for {
		c.mu.Lock()
		if len(e.waiting) == 0 || c.ctx.Err() != nil {
			c.leaveLocked(e)
			c.mu.Unlock()
			return
		}
		d := e.begin()
		c.mu.Unlock()
		if !c.deliver(e, d) {
			c.mu.Lock()
			c.leaveLocked(e)
			c.mu.Unlock()
			return
		}
	}
}

// deliver posts one body, and again after a while if that fails. It reports false
// if that is to wait for the next start.
func (c *callbacks) deliver(e *endpoint, d *delivery) bool {
	gap := c.opts.RetryGap
	for attempt := 0; ; attempt++ {
		switch {
		case c.ctx.Err() != nil:
			return false
		case d.to.hasEnded():
			c.finish(e, d, bridge.Disconnected)
			return true
		case d.expired(c.now()):
			c.count(tooLate, 1)
			c.finish(e, d, bridge.Expired)
			return true
		}
		if !c.takeSlot(d.to) {
			continue
		}
		err := c.poster.post(c.ctx, d, c.secrets(e))
		<-c.slots
		if err == nil {
			c.succeeded(e, d)
			return true
		}
		c.logFailure(d, attempt, err)
		var answered statusError
		errors.As(err, &answered)
		last := attempt >= c.opts.Retries
		switch c.failed(e, d, err, answered.code == nethttp.StatusGone, last) {
		case retried:
			if !c.pause(d.to, max(jitter(gap), answered.after)) {
				return false
			}
			gap = min(2*gap, c.opts.MaxGap)
		case disabled:
			if c.keeper != nil {
				c.keeper.saveLogged() // the reason is on disk before the membership is gone there
			}
			c.hub.EndCallback(e.key.sender, e.key.url)
			return true
		default:
			return true
		}
	}
}

// jitter makes a gap up to a quarter longer, so that receivers that were down do
// not get everything at once.
func jitter(gap time.Duration) time.Duration { return gap + rand.N(gap/4+1) }

// takeSlot waits until an attempt may begin. It reports false if there may be
// nothing to try any more.
func (c *callbacks) takeSlot(to *callback) bool {
	select {
	case c.slots <- struct{}{}:
		return true
	case <-to.ended:
	case <-c.ctx.Done():
	}
	return false
}

// pause waits before a retry, unless there is nothing to retry any more. It
// reports false if the next start is to do it.
func (c *callbacks) pause(to *callback, gap time.Duration) bool {
	t := time.NewTimer(gap)
	defer t.Stop()
	select {
	case <-t.C:
	case <-to.ended:
	case <-c.ctx.Done():
	case <-c.stopping:
		return false
	}
	return true
}

func (c *callbacks) logFailure(d *delivery, attempt int, err error) {
	// Not the URL: its path or query may be a secret.
	c.log.WithFields(logrus.Fields{
		"sender": d.to.key.sender.ID(), "attempt": attempt + 1, "refused": refusedByPolicy(err), "why": describe(err),
	}).Debug("callback failed")
}

// drain lets the workers finish until ctx ends. What waits then is written to
// disk, or has failed where there is none.
func (c *callbacks) drain(ctx context.Context) {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	if c.keeper != nil {
		close(c.stopping) // nobody waits for a receiver that is down
	}
	stop := context.AfterFunc(ctx, c.cancel)
	c.workers.Wait()
	stop()
	c.cancel()
	if c.keeper != nil {
		c.keeper.stop()
	}
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
		c.put(to, &delivery{body: body, hops: hops, id: "report-" + r.ID.String()})
	}
}
