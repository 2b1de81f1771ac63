package callback

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"sync/atomic"

	"github.com/oklog/ulid/v2"
	"github.com/sirupsen/logrus"

	"watchtower/bridge"
	"watchtower/history"
)

// New returns a service that follows the history. It attaches the callbacks that the hub
// remembers. Errors: a wrong Allow list, or a store that cannot be read.
func New(hub *bridge.Hub, past *history.History, opts Options, log *logrus.Logger) (*Service, error) {
	policy, err := newPolicy(opts)
	if err != nil {
		return nil, err
	}
	c := &Service{
		hub: hub, past: past, opts: opts, policy: policy, log: log, now: hub.Now, poster: newPoster(opts, policy), signer: newSigner(opts.SigningKey),
		endpoints: map[endpointKey]*endpoint{}, shares: newShares(), turns: newTurns(opts.Concurrency), settled: make(chan struct{}),
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	if opts.Space != nil {
		c.together = newTogether(c, opts.Space)
		c.together.restoreChanges()
	}
	if opts.Store != nil {
		c.keeper = &keeper{
			service: c, store: opts.Store, every: opts.SaveInterval, dirty: map[*endpoint]struct{}{},
			ending: make(chan struct{}), noted: make(chan struct{}, 1), rows: map[string][]byte{}, disk: map[string]struct{}{},
		}
	}
	past.Follow(Protocol, fanOut{c})
	return c, c.restore()
}

// Serve posts until ctx ends. Then it takes the last messages from the history and posts
// the waiting deliveries, within the drain timeout. It returns when all its goroutines have
// ended.
func (c *Service) Serve(ctx context.Context) error {
	if ctx.Err() == nil { // else the gateway did not start: deliveries stay as they are
		c.start()
	}
	if c.together == nil {
		<-ctx.Done()
	} else {
		c.together.until(ctx)
	}
	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.opts.DrainTimeout)
	defer cancel()
	c.past.Drain(limit)
	c.drain(limit)
	return nil
}

// Quiesce does nothing: requests come by HTTP, and messages by the history.
func (c *Service) Quiesce(context.Context) {}

// fanOut gives messages to callbacks. It follows the history.
type fanOut struct{ c *Service }

// Give queues a message for the members that want it.
func (f fanOut) Give(m *bridge.Message, members []*bridge.Attachment) (offered, dropped int) {
	var body []byte // the same for all
	for _, a := range members {
		if !a.Wants(m) || !f.c.posts(a.Member.(*receiver)) {
			continue
		}
		if body == nil {
			body = bodyOf(m)
		}
		offered++
		if !f.c.enqueue(a.Member.(*receiver), f.c.deliveryOf(m, body)) {
			dropped++
		}
	}
	return offered, dropped
}

// posts reports whether this gateway posts to a callback.
func (c *Service) posts(to *receiver) bool {
	if c.together == nil {
		return true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.endpoints[to.key]
	return e != nil && !e.elsewhere
}

// Flush does nothing.
func (fanOut) Flush() {}

// start begins to post the deliveries from before a restart, and to write changes.
func (c *Service) start() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.serving = true
	for _, e := range c.endpoints {
		c.workLocked(e)
	}
	if c.keeper != nil {
		c.keeper.running.Go(c.keeper.run)
	}
}

// Queued returns how many deliveries wait or are tried, and the bytes of all, with the
// failed ones that are kept.
func (c *Service) Queued() (n, bytes int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range c.endpoints {
		n += len(e.waiting)
		if e.current != nil {
			n++
		}
	}
	return n, c.shares.bytes
}

// Outcomes calls each with the number of deliveries and attempts by outcome.
func (c *Service) Outcomes(each func(outcome string, n uint64)) {
	for o := range numOutcomes {
		each(o.String(), c.outcomes[o].Load())
	}
}

// drain posts the waiting deliveries until ctx ends. The rest, and those that fail
// meanwhile, are written to disk; without a store they have failed.
func (c *Service) drain(ctx context.Context) {
	c.mu.Lock()
	c.closed = true
	if c.keeper != nil { // retries are left for the next start
		c.stopping = true
		c.leaveAllLocked(pausing)
	}
	c.settleLocked()
	c.mu.Unlock()
	select {
	case <-c.settled:
	case <-ctx.Done():
	}
	c.cancel()
	c.mu.Lock()
	c.leaveAllLocked(pausing, lined)
	for _, e := range c.endpoints {
		if e.rests() && e.phase == idle {
			c.letGoAtEnd(e)
		}
	}
	c.mu.Unlock()
	<-c.settled
	c.workers.Wait()
	if c.keeper != nil {
		c.keeper.stop()
	}
	c.poster.close()
}

// leaveAllLocked makes the endpoints in some phases idle.
func (c *Service) leaveAllLocked(phases ...phase) {
	for _, e := range slices.Collect(maps.Values(c.endpoints)) {
		if slices.Contains(phases, e.phase) {
			c.leaveLocked(e)
		}
	}
}

// Reporter returns a function that posts the delivery report of one publication, once. hops
// is how many callbacks the publication has been through. CheckURL must have accepted url.
func (c *Service) Reporter(s *bridge.Sender, url string, hops uint8) func(bridge.Report) {
	to := &receiver{key: endpointKey{sender: s, url: url, reports: c.together != nil}}
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
			Missing  []string         `json:"missing,omitempty"`
		}{r.ID, r.Channels, r.Sender, r.Offered, r.Dropped, r.Missing})
		if err != nil { // numbers and plain maps: cannot fail
			c.log.WithError(err).Error("delivery report not encoded")
			return
		}
		c.enqueue(to, &delivery{body: body, hops: hops, id: "report-" + r.ID.String()})
	}
}
