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
	"watchtower/intake"
)

// New returns a broker that listens to nobody yet, with the sessions and
// retained messages of its store. It works as the hub's bus from the start.
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
		hub: hub, tree: hub.Tree(), opts: opts, log: log, now: opts.Now,
		router: newRouter(hub.Tree()), sessions: newSessions(), noisy: newThrottle(time.Minute), once: newThrottle(24 * time.Hour),
		budget: all, retained: &retained{most: opts.MQTTRetained, mostBytes: opts.MQTTRetainedBytes, budget: all, seed: maphash.MakeSeed()},
		wills:  &wills{limit: all.limit / 4},
		door:   opts.Intake.Door(Protocol, "limits.mqtt_connections", opts.MQTTConnections),
		ending: make(chan struct{}), conns: map[*conn]struct{}{},
	}
	b.life, b.endLife = context.WithCancel(context.Background())
	b.users.Store(&opts.Users)
	if opts.Store == nil {
		return b, nil
	}
	b.keeper = &keeper{
		store: opts.Store, sessions: b.sessions, retained: b.retained, every: opts.SaveInterval, log: log,
		group: firstGroup, rows: map[string][]byte{},
	}
	if err := b.restore(); err != nil {
		return nil, err
	}
	b.retained.keep = true
	return b, nil
}

// Listen binds the TCP listener, if there is to be one.
func (b *Broker) Listen() error {
	if b.opts.Listen == "" {
		return nil
	}
	var err error
	b.plain, err = net.Listen("tcp", b.opts.Listen)
	return err
}

// ListenTLS binds the TLS listener, if there is to be one.
func (b *Broker) ListenTLS() error {
	if b.opts.TLSListen == "" {
		return nil
	}
	l, err := net.Listen("tcp", b.opts.TLSListen)
	if err == nil {
		b.secure = tls.NewListener(l, b.opts.TLS)
	}
	return err
}

// Addr is what the TCP listener is bound to, or nil.
func (b *Broker) Addr() net.Addr { return address(b.plain) }

// TLSAddr is what the TLS listener is bound to, or nil.
func (b *Broker) TLSAddr() net.Addr { return address(b.secure) }

func address(l net.Listener) net.Addr {
	if l == nil {
		return nil
	}
	return l.Addr()
}

// listeners are those that are bound.
func (b *Broker) listeners() (bound []net.Listener) {
	for _, l := range []net.Listener{b.plain, b.secure} {
		if l != nil {
			bound = append(bound, l)
		}
	}
	return bound
}

// Serve takes connections until ctx ends, then tells every client goodbye and
// returns when all of them have gone.
func (b *Broker) Serve(ctx context.Context) error {
	var workers sync.WaitGroup
	workers.Go(func() { b.sweep(ctx) })
	if b.keeper != nil {
		workers.Go(func() { b.keeper.run(ctx) })
	}
	for _, l := range b.listeners() {
		workers.Go(func() { b.accept(l) })
	}
	<-ctx.Done()
	b.stopReading()
	close(b.ending)
	workers.Wait()
	last := time.AfterFunc(flushTimeout, func() { // those that do not take their goodbye
		b.eachConn(func(c *conn) { _ = c.nc.Close() })
	})
	defer last.Stop()
	b.serving.Wait()
	if b.keeper != nil {
		b.keeper.save(true)
	}
	return nil
}

func (b *Broker) eachConn(f func(*conn)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for c := range b.conns {
		f(c)
	}
}

// Quiesce takes no more connections or requests, and returns when those in
// progress are done, or ctx ends. Messages still go out.
func (b *Broker) Quiesce(ctx context.Context) {
	b.stopReading()
	done := make(chan struct{})
	go func() { // ends when the reads do, which Serve waits for
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
	b.eachConn(func(c *conn) { _ = c.nc.SetReadDeadline(time.Unix(1, 0)) })
}

func (b *Broker) accept(l net.Listener) {
	for {
		nc, err := l.Accept()
		if err != nil {
			if b.quiet.Load() {
				return
			}
			b.log.WithError(err).Warn("MQTT connection not accepted")
			time.Sleep(50 * time.Millisecond) // out of descriptors, most likely: let some go
			continue
		}
		go b.ServeConn(nc) // Serve waits for it
	}
}

// ServeConn serves one client on nc, whatever carries it, and returns when the
// connection has ended and both its goroutines with it.
func (b *Broker) ServeConn(nc net.Conn) {
	c := newConn(b, nc)
	if !b.track(c) {
		_ = nc.Close()
		return
	}
	defer b.serving.Done()
	defer b.untrack(c)
	if err := aside(c.connect); err != nil {
		b.reads.Done()
		c.drop(err)
		b.log.WithField("remote", c.remote).WithError(err).Debug("MQTT connection refused")
		_ = nc.Close()
		return
	}
	written := make(chan struct{})
	go func() {
		defer close(written)
		if err := c.writer.Run(); err != nil {
			b.log.WithField("client", c.clientID).WithError(err).Debug("MQTT client does not take what it is sent")
		} else {
			c.linger()
		}
		_ = nc.Close()
	}()
	c.reading.Store(true)
	err := c.readLoop()
	c.caughtUp()
	close(c.stopped)
	b.reads.Done()
	c.drop(err)
	if errors.Is(err, errStopping) {
		<-b.ending // messages still go out until then
		c.suspended = true
		c.willQuiet = c.willQuiet || b.keeper == nil // there is nobody left to tell
	}
	c.finish(err)
	<-written
	c.leave()
	b.log.WithField("client", c.clientID).WithField("remote", c.remote).WithError(err).Debug("MQTT client left")
}

func newConn(b *Broker, nc net.Conn) *conn {
	c := &conn{broker: b, nc: nc, remote: nc.RemoteAddr().String(), stopped: make(chan struct{})}
	c.leave = sync.OnceFunc(func() { b.left(c) })
	c.from = auth.Caller{Via: Protocol, At: auth.Address(nc.RemoteAddr())}
	if proxied, ok := nc.(interface{ Forwarded() bool }); ok {
		c.from.Forwarded = proxied.Forwarded()
	}
	c.r = bufio.NewReaderSize(c, idleBufferBytes)
	outbound.EndStuck(nc, b.opts.WriteTimeout)
	c.writer = outbound.NewWriter(nc, c, outbound.Options{Timeout: b.opts.WriteTimeout})
	return c
}

// What a connection is charged before its CONNECT was accepted, in bytes: for its
// buffers, and for those of TLS.
const (
	strangerBytes = 4 << 10
	tlsBytes      = 12 << 10
)

// track takes a connection in, unless there are too many.
func (b *Broker) track(c *conn) bool {
	v := intake.Visit{At: intake.From(c.nc.RemoteAddr()), Bytes: strangerBytes, Closer: c.nc}
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
	c.guest.Leave()
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.conns, c)
}
