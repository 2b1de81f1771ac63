package mqtt

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"hash/maphash"
	"net"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"watchtower/auth"
	"watchtower/bridge"
	"watchtower/bridge/outbound"
	"watchtower/eventloop"
	"watchtower/intake"
)

// New returns a broker with the sessions and retained messages of its store. It does not
// listen yet, but already works as the hub's bus.
func New(hub *bridge.Hub, opts Options, log *logrus.Logger) (*Broker, error) {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Passwords == nil {
		opts.Passwords = auth.NewPasswords(opts.Gate)
	}
	if opts.Intake == nil {
		opts.Intake = intake.New(intake.Options{Counters: hub.Counters(), Log: log})
	}
	opts.packetTimeout = cmp.Or(opts.packetTimeout, packetTimeout)
	all := &budget{limit: int64(opts.MQTTQueueBytes)}
	b := &Broker{
		hub: hub, tree: hub.Tree(), shares: !hub.Peers().Alone(), groups: newGroups(), opts: opts, log: log, now: opts.Now,
		router: newRouter(hub.Tree()), sessions: newSessions(hub.Peers()), noisy: intake.NewThrottle(time.Minute), once: intake.NewThrottle(24 * time.Hour),
		budget: all, retained: &retained{most: opts.MQTTRetained, mostBytes: opts.MQTTRetainedBytes, budget: all, seed: maphash.MakeSeed()},
		wills:  &wills{limit: all.limit / 4},
		door:   opts.Intake.Door(Protocol, "limits.mqtt_connections", opts.MQTTConnections),
		crew:   outbound.NewCrew(),
		ending: make(chan struct{}), conns: map[*conn]struct{}{},
	}
	if b.shares {
		b.retained.replica, b.underWay = newReplica(hub.Peers().Slot(), opts.MQTTRetained), newUnderWay()
	}
	b.life, b.endLife = context.WithCancel(context.Background())
	b.users.Store(&opts.Users)
	if own, shares := hub.Peers().Own(); shares {
		b.sessions.lost, b.records = b.lostTo, newSpaceRecords(own.Slot)
	}
	hub.Peers().AnswerWith(b.answer)
	if opts.Store == nil {
		return b, nil
	}
	b.keeper = &keeper{
		store: opts.Store, sessions: b.sessions, records: b.records, retained: b.retained, every: opts.SaveInterval, log: log,
		group: firstGroup, rows: map[string][]byte{}, changes: changes{noted: make(chan struct{}, 1)},
	}
	if err := b.restore(); err != nil {
		return nil, err
	}
	b.retained.keep, b.retained.noted = true, b.keeper.changes.note
	b.keeper.changes.note() // what the restore changed
	return b, nil
}

// Listen binds the TCP listener, if one is configured.
func (b *Broker) Listen() error {
	if b.opts.Listen == "" {
		return nil
	}
	var err error
	b.plain, err = outbound.Listen(b.opts.Listen, b.opts.WriteTimeout)
	return err
}

// ListenTLS binds the TLS listener, if one is configured.
func (b *Broker) ListenTLS() error {
	if b.opts.TLSListen == "" {
		return nil
	}
	l, err := outbound.Listen(b.opts.TLSListen, b.opts.WriteTimeout)
	if err == nil {
		b.secure = tls.NewListener(l, b.opts.TLS)
	}
	return err
}

// Addr returns the TCP listener's address, or nil.
func (b *Broker) Addr() net.Addr { return address(b.plain) }

// TLSAddr returns the TLS listener's address, or nil.
func (b *Broker) TLSAddr() net.Addr { return address(b.secure) }

func address(l net.Listener) net.Addr {
	if l == nil {
		return nil
	}
	return l.Addr()
}

func (b *Broker) listeners() (bound []net.Listener) {
	for _, l := range []net.Listener{b.plain, b.secure} {
		if l != nil {
			bound = append(bound, l)
		}
	}
	return bound
}

// Serve accepts connections until ctx ends. Then it sends every client DISCONNECT, and
// returns when all connections are closed, and other gateways have the sessions.
func (b *Broker) Serve(ctx context.Context) error {
	var workers sync.WaitGroup
	workers.Go(func() { b.sweep(ctx) })
	workers.Go(func() { b.endSilent(ctx) })
	if b.keeper != nil {
		workers.Go(func() { b.keeper.run(ctx) })
	}
	if b.shares {
		workers.Go(func() { b.tend(ctx) })
	}
	loops := b.startLoops()
	b.loops.Store(loops)
	for _, l := range b.listeners() {
		workers.Go(func() { b.accept(l, loops) })
	}
	<-ctx.Done()
	b.stopReading()
	close(b.ending)
	workers.Wait()
	last := time.AfterFunc(flushTimeout, func() { // clients that do not read
		b.eachConn(func(c *conn) { _ = c.Close() })
	})
	defer last.Stop()
	b.serving.Wait()
	loops.Close()
	b.crew.Wait()
	b.parting.Store(true)
	b.bidFarewell()
	if b.keeper != nil {
		b.keeper.save(true)
	}
	return nil
}

// startLoops returns nil if each connection has to be read by a goroutine of its own.
func (b *Broker) startLoops() *eventloop.Loops {
	if b.opts.withoutLoops {
		return nil
	}
	loops, err := eventloop.Start()
	if err != nil { // another system, or no descriptors are left
		b.log.WithError(err).Debug("each MQTT connection is read by a goroutine of its own")
		return nil
	}
	return loops
}

// Socket returns the place of a connection that is not a client's in the event loops that read clients;
// nil: it has none, or Serve has not begun. At the end of Serve it is not parked any more.
func (b *Broker) Socket(nc net.Conn, h eventloop.Handler) *eventloop.Socket {
	return b.loops.Load().Socket(nc, h)
}

// Quiesce stops taking connections and packets. It returns when packets in progress are
// done, or ctx ends. Messages are still sent.
func (b *Broker) Quiesce(ctx context.Context) {
	b.stopReading()
	done := make(chan struct{})
	go func() { // ends with the reads, for which Serve waits
		defer close(done)
		b.reads.Wait()
	}()
	select {
	case <-done:
	case <-ctx.Done():
	}
}

func (b *Broker) stopReading() {
	b.quiet.Store(true)
	b.endLife()
	for _, l := range b.listeners() {
		_ = l.Close()
	}
	b.eachConn((*conn).interrupt)
}

func (b *Broker) accept(l net.Listener, loops *eventloop.Loops) {
	for {
		nc, err := l.Accept()
		if err != nil {
			if b.quiet.Load() {
				return
			}
			b.log.WithError(err).Warn("MQTT connection not accepted")
			time.Sleep(50 * time.Millisecond) // probably out of descriptors: some may be closed
			continue
		}
		go b.open(nc, loops) // Serve waits for it
	}
}

// ServeConn serves one client on any kind of connection. It returns when nothing of the
// connection is left.
func (b *Broker) ServeConn(nc net.Conn) {
	outbound.EndStuck(nc, b.opts.WriteTimeout)
	if c := b.open(nc, nil); c != nil {
		<-c.gone.Done()
	}
}

// open serves a client until its connection is parked or ends; nil: it was not accepted.
func (b *Broker) open(nc net.Conn, loops *eventloop.Loops) *conn {
	c := newConn(b, nc, loops)
	if !b.track(c) {
		_ = nc.Close()
		return nil
	}
	if err := aside(c.connect); err != nil {
		b.reads.Done()
		c.drop(err)
		b.log.WithField("remote", c.remote).WithError(err).Debug("MQTT connection refused")
		_ = nc.Close()
		b.untrack(c)
		return nil
	}
	c.writer.Start(nc)
	c.reading.Store(true)
	c.run()
	return c
}

// end ends the connection after its read loop.
func (c *conn) end(err error) {
	b := c.broker
	if !c.closing.Load() {
		c.left.CompareAndSwap(0, uint32(departure(err)))
	}
	c.caughtUp()
	c.stopped.Close()
	b.reads.Done()
	c.drop(err)
	if errors.Is(err, errStopping) {
		<-b.ending // until then messages are still sent
		c.suspended = true
		c.willQuiet = c.willQuiet || b.keeper == nil // no receiver is left
	}
	c.finish(err)
	<-c.writer.Done()
	c.leave()
	b.log.WithField("client", c.clientID).WithField("remote", c.remote).WithError(err).Debug("MQTT client left")
	b.untrack(c)
	c.gone.Close()
}

// written is called when nothing is written to the connection any more.
func (c *conn) written(err error) {
	if err == nil {
		c.drain()
	} else {
		if isUnanswered(err) && !c.closing.Load() { // its deadline, or the system gave up
			c.left.CompareAndSwap(0, uint32(bridge.LeftTooSlow)) // the read loop sees only that it is closed
		}
		c.broker.log.WithField("client", c.clientID).WithError(err).Debug("MQTT client does not take what it is sent")
	}
	_ = c.Close()
}

func newConn(b *Broker, nc net.Conn, loops *eventloop.Loops) *conn {
	c := &conn{broker: b, nc: nc, remote: nc.RemoteAddr().String()}
	c.from = auth.Caller{Via: Protocol, At: auth.Address(nc.RemoteAddr())}
	if proxied, ok := nc.(interface{ Forwarded() bool }); ok {
		c.from.Forwarded = proxied.Forwarded()
	}
	if c.sock = loops.Socket(nc, c); c.sock != nil {
		c.r = readers.Get().(*bufio.Reader)
		c.r.Reset(c)
	} else {
		c.r = bufio.NewReaderSize(c, idleBufferBytes)
	}
	c.writer = outbound.NewWriter(c, outbound.Options{Timeout: b.opts.WriteTimeout, Crew: b.crew, Ended: c.written})
	return c
}

// Bytes that a connection counts for before CONNECT is accepted: its buffers, and TLS's.
const (
	strangerBytes = 4 << 10
	tlsBytes      = 12 << 10
)

// track registers a connection, and reports false if there are too many.
func (b *Broker) track(c *conn) bool {
	v := intake.Visit{At: intake.From(c.nc.RemoteAddr()), Bytes: strangerBytes, Closer: c}
	if secure, ok := c.nc.(*tls.Conn); ok {
		v.Bytes += tlsBytes
		v.Closer = secure.NetConn() // at once, without a goodbye
	}
	if !b.door.Enter(&c.guest, v) {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.quiet.Load() {
		c.guest.Leave()
		return false
	}
	b.conns[c] = struct{}{}
	b.reads.Add(1)
	b.serving.Add(1)
	return true
}

func (b *Broker) untrack(c *conn) {
	defer b.serving.Done()
	c.guest.Leave()
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.conns, c)
}
