package bench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"watchtower/wire/frame"
)

// setUps is the most connections that are being opened at a time.
const setUps = 16

// member is a connection that receives messages.
type member struct {
	conn conn
	ear  *ear
}

// run is one measurement.
type run struct {
	server             // the receivers'
	origin     *server // the publishers'; often the same
	plan       plan
	members    []member // publishers that hear are the first of them
	publishers []*publisher
	stalled    []conn
	holder     *streamConn // what makes the sender of publishers over HTTP a member
	recording  atomic.Bool
	flights    []*flight

	listening sync.WaitGroup
	mu        sync.Mutex
	failures  []error // of connections
}

// Run measures. It returns when every connection is closed and every goroutine
// has ended. A result with faults is no error: see Result.Faults.
func Run(ctx context.Context, o Options) (*Result, error) {
	r, err := prepare(o)
	if err != nil {
		return nil, err
	}
	defer r.close()
	if err := r.setUp(ctx); err != nil {
		return nil, err
	}
	return r.measure(ctx)
}

// prepare checks the options and opens nothing.
func prepare(o Options) (*run, error) {
	o = o.WithDefaults()
	if err := o.Validate(); err != nil {
		return nil, err
	}
	r := &run{server: server{opts: o, run: rand.Uint32(), web: newWeb()}}
	r.origin = &r.server
	if o.Origin != nil {
		r.origin = &server{opts: o.publishing(), run: r.run, web: r.web}
	}
	for _, s := range []*server{&r.server, r.origin} {
		if err := s.locate(); err != nil {
			return nil, err
		}
	}
	r.plan = plan{channels: o.Channels, receivers: o.Receivers, joinAll: o.JoinAll}
	if r.hears() {
		r.plan.everybody = o.Publishers
		if o.Publish == o.Receive {
			r.plan.receivers = max(0, o.Receivers-o.Publishers)
		}
	}
	window := o.Window
	if o.Rate > 0 {
		window = maxWindow
	}
	for range o.Publishers {
		r.flights = append(r.flights, newFlight(window))
	}
	return r, nil
}

// locate finds what its clients need to know of the server.
func (s *server) locate() error {
	o := s.opts
	if o.URL != "" {
		u, err := url.Parse(o.URL)
		if err != nil || u.Scheme != "http" || u.Port() == "" {
			return fmt.Errorf("--url: must be like http://127.0.0.1:8080, is %q", o.URL)
		}
		s.host = u.Host
	}
	if o.Publish == UDPSession || o.Receive == UDPSession {
		s.key = frame.DeviceKey(o.SecretKey)
	}
	return nil
}

// channelsOf returns the channels' numbers on the wire.
func (r *run) channelsOf(places []int) []uint32 {
	all := make([]uint32, len(places))
	for i, c := range places {
		all[i] = r.opts.FirstChannel + uint32(c)
	}
	return all
}

// setUp opens and joins everything, and starts to listen.
func (r *run) setUp(ctx context.Context) error {
	o := r.opts
	every := r.plan.every()
	r.members = make([]member, r.plan.everybody+r.plan.receivers)
	err := r.inParallel(ctx, len(r.members), func(i int) error {
		at, p, joined := r.origin, o.Publish, every
		if i >= r.plan.everybody {
			at, p, joined = &r.server, o.Receive, r.plan.joins(i-r.plan.everybody)
		}
		c, err := at.dial(p, i)
		if err != nil {
			return err
		}
		r.members[i] = member{c, newEar(r.run, o.Size, r.plan, joined, r.flights, &r.recording)}
		return c.join(r.channelsOf(joined))
	})
	if err != nil {
		return fmt.Errorf("receivers over %s: %w", o.Receive, err)
	}
	if o.Send {
		for _, m := range r.members {
			r.origin.to = append(r.origin.to, m.conn.number())
		}
	}
	if err := r.setUpPublishers(ctx, every); err != nil {
		return fmt.Errorf("publishers over %s: %w", o.Publish, err)
	}
	r.stalled = make([]conn, o.Stalled)
	return r.inParallel(ctx, o.Stalled, func(i int) (err error) {
		if r.stalled[i], err = r.dial(o.Receive, len(r.members)+o.Publishers+i); err != nil {
			return fmt.Errorf("receivers that do not read: %w", err)
		}
		return r.stalled[i].join(r.channelsOf(every))
	})
}

func (r *run) setUpPublishers(ctx context.Context, every []int) (err error) {
	o := r.opts
	if o.Publish.web() {
		if r.origin.sender, err = r.origin.register(); err != nil {
			return err
		}
		if r.holder, err = r.origin.openStream(r.origin.sender, false, false); err != nil {
			return err
		}
		if err := r.holder.join(r.channelsOf(every)); err != nil {
			return err
		}
	}
	r.publishers = make([]*publisher, o.Publishers)
	return r.inParallel(ctx, o.Publishers, func(i int) (err error) {
		p := &publisher{number: i, flight: r.flights[i], plan: r.plan, opts: o, run: r.run}
		r.publishers[i] = p
		if r.hears() {
			p.conn = r.members[i].conn
			return nil
		}
		p.conn, err = r.origin.dialPublisher(o.Publish, len(r.members)+i)
		if err == nil && o.Publish.hears() {
			err = p.conn.join(r.channelsOf(every))
		}
		return err
	})
}

// inParallel does something n times, a few at a time, and returns the first
// error.
func (r *run) inParallel(ctx context.Context, n int, do func(i int) error) error {
	var next atomic.Int64
	var workers sync.WaitGroup
	errs := make([]error, min(n, setUps))
	for w := range errs {
		workers.Go(func() {
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				if errs[w] = do(i); errs[w] != nil {
					next.Store(int64(n)) // nobody goes on
					return
				}
			}
		})
	}
	workers.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return ctx.Err()
}

// listen starts a goroutine for each connection that receives messages or answers, and one
// that keeps all of them alive.
func (r *run) listen(ctx context.Context) {
	for _, m := range r.members {
		r.listening.Go(func() { r.failed(m.conn.listen(m.ear)) })
	}
	if !r.hears() {
		for _, p := range r.publishers {
			deaf := newEar(r.run, r.opts.Size, r.plan, nil, r.flights, &r.recording)
			r.listening.Go(func() { r.failed(p.conn.listen(deaf)) })
		}
	}
	if r.holder != nil {
		deaf := newEar(r.run, r.opts.Size, r.plan, nil, r.flights, &r.recording)
		r.listening.Go(func() { r.failed(r.holder.listen(deaf)) })
	}
	r.listening.Go(func() {
		t := time.NewTicker(20 * time.Second)
		defer t.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-t.C:
			}
			for _, c := range r.conns() {
				r.failed(c.keep())
			}
		}
	})
}

func (r *run) failed(err error) {
	if err != nil {
		r.mu.Lock()
		r.failures = append(r.failures, err)
		r.mu.Unlock()
	}
}

// conns returns all connections that were opened.
func (r *run) conns() (all []conn) {
	for _, m := range r.members {
		if m.conn != nil {
			all = append(all, m.conn)
		}
	}
	for _, p := range r.publishers {
		if p != nil && p.conn != nil && !r.hears() {
			all = append(all, p.conn)
		}
	}
	for _, c := range r.stalled {
		if c != nil {
			all = append(all, c)
		}
	}
	if r.holder != nil {
		all = append(all, r.holder)
	}
	return all
}

// hangUp closes all connections, and waits for their goroutines.
func (r *run) hangUp() {
	for _, c := range r.conns() {
		c.close()
	}
	r.listening.Wait()
}

// close closes all connections, and deletes the run's senders at their gateways.
func (r *run) close() {
	r.hangUp()
	type left struct {
		at *server
		identity
	}
	var all []left
	if r.holder == nil { // else it is the holder's
		all = append(all, left{r.origin, r.origin.sender})
	}
	for _, c := range r.conns() {
		if s, ok := c.(*streamConn); ok {
			all = append(all, left{s.server, s.identity})
		}
	}
	_ = r.inParallel(context.Background(), len(all), func(i int) error {
		all[i].at.forget(all[i].identity)
		return nil
	})
	r.web.close()
}
