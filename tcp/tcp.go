// Package tcp is the bridge between TCP clients and the gateway's verbs. It owns the
// listener, the connections and their queues. The packages basic and session know what a
// frame means; bridge knows who is a member.
//
// Each connection has a goroutine that reads and executes frames, and one that writes
// whatever waits in its queue, in as few calls as possible. Replies go through the same
// queue as messages, so they keep their order. One more goroutine takes messages from the
// link and puts them into the members' queues: a message is encoded once, and all queues
// share the bytes. A member whose queue is full loses the message; nothing waits for it.
package tcp

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"

	"watchtower/auth"
	"watchtower/bridge"
	"watchtower/bridge/outbound"
	"watchtower/config"
	"watchtower/intake"
	"watchtower/wire/basic"
	"watchtower/wire/session"
)

// Options of a Server: its settings, and values that are no settings.
type Options struct {
	config.TCP
	config.Wire
	config.Limits

	QueueBytes int            // bytes that wait for one connection; 0: 1 MiB
	Gateway    uint32         // the gateway's number, for W
	Keys       session.Keys   // of the devices; nil: those of an open gateway
	Gate       *auth.Gate     // where wrong keys are counted; nil: nowhere
	Intake     *intake.Intake // bounds strangers and unfinished frames; nil: nothing does
}

// queueBytes is how many bytes may wait for one connection.
const queueBytes = 1 << 20

// keepAlive finds peers that are gone within 75 s, and keeps the path through
// routers that forget connections after 30 s.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 15 * time.Second, Count: 4}

// acceptRetry is the pause after a failed accept, so that a lasting failure, such as too
// many open files, costs little.
const acceptRetry = 100 * time.Millisecond

// flushTimeout is how long connections have, at the end, to take what still waits for
// them.
const flushTimeout = 2 * time.Second

// Protocol is TCP, as the hub knows it.
var Protocol = bridge.NewProtocol("tcp")

// Server serves the wire protocol over TCP.
type Server struct {
	hub      *bridge.Hub
	opts     Options
	log      *logrus.Entry
	misread  *intake.Misread
	link     *bridge.Link
	listener net.Listener
	sessions *session.Registrar
	crew     *outbound.Crew
	door     *intake.Door

	// Used by the link's goroutine only:
	batch  [atOnce]encoded
	frames [atOnce][]byte // as basic members get them
	round  outbound.Round

	quiescing atomic.Bool
	stopping  chan struct{} // no more requests are taken
	quiet     chan struct{} // the last request is done
	closing   chan struct{} // connections end

	mu      sync.Mutex
	conns   map[*conn]struct{}
	readers int // goroutines that accept or read
}

// New returns a server, and adds its link to the hub. It starts nothing.
func New(hub *bridge.Hub, opts Options, log *logrus.Logger) *Server {
	opts.QueueBytes = cmp.Or(opts.QueueBytes, queueBytes)
	if opts.Intake == nil {
		opts.Intake = intake.New(intake.Options{Counters: hub.Counters(), Log: log})
	}
	entry := log.WithField("protocol", Protocol.String())
	return &Server{
		hub:      hub,
		opts:     opts,
		door:     opts.Intake.Door(Protocol, "limits.tcp_connections", opts.TCPConnections),
		log:      entry,
		misread:  intake.NewMisread(entry),
		link:     hub.AddLink(Protocol, bridge.LinkQueue, bridge.LinkPatience),
		sessions: session.NewRegistrar(hub, Protocol, opts.Keys, opts.Gate.Streams(Protocol)),
		crew:     outbound.NewCrew(),
		stopping: make(chan struct{}),
		quiet:    make(chan struct{}),
		closing:  make(chan struct{}),
		conns:    map[*conn]struct{}{},
	}
}

// Listen binds the port. Serve closes it.
func (s *Server) Listen() error {
	l, err := (&net.ListenConfig{KeepAliveConfig: keepAlive}).Listen(context.Background(), "tcp", s.opts.Listen)
	if err != nil {
		return fmt.Errorf("tcp: listen: %w", err)
	}
	s.listener = l
	s.log.WithField("address", l.Addr().String()).Debug("listening")
	return nil
}

// Addr is where the server listens, after Listen.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// Port is the port that it listens on, for W; 0 before Listen.
func (s *Server) Port() uint16 {
	if s.listener == nil {
		return 0
	}
	return uint16(s.listener.Addr().(*net.TCPAddr).Port)
}

// Serve serves until ctx ends. Then it takes no more requests, empties the link
// into the queues and the queues into the connections, each within the write
// timeout, closes them, and returns when every goroutine has ended. With a
// context that has ended it just closes what Listen opened.
func (s *Server) Serve(ctx context.Context) error {
	if s.listener == nil {
		return errors.New("tcp: Serve before Listen")
	}
	linkCtx, stopLink := context.WithCancel(context.WithoutCancel(ctx))
	defer stopLink()
	var link, running sync.WaitGroup
	link.Go(func() { s.link.Run(linkCtx, s.deliver) })
	s.beginReading(nil)
	running.Go(func() { s.accept(&running) })

	<-ctx.Done()
	s.stopReading()
	<-s.quiet // so that what came in last is in the link before it drains
	stopLink()
	link.Wait()
	close(s.closing)
	last := time.AfterFunc(flushTimeout, s.closeAll) // closes those that do not read what waits for them
	defer last.Stop()
	running.Wait()
	s.crew.Wait()
	s.log.Debug("closed")
	return nil
}

func (s *Server) closeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		_ = c.conn.Close()
	}
}

// Quiesce takes no more connections and requests. It returns when the requests in
// progress are done, or ctx ends. Messages are still delivered until Serve's context
// ends.
func (s *Server) Quiesce(ctx context.Context) {
	s.stopReading()
	select {
	case <-s.quiet:
	case <-ctx.Done():
	}
}

func (s *Server) stopReading() {
	if s.quiescing.Swap(true) {
		return
	}
	close(s.stopping)
	_ = s.listener.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.stopReading()
	}
}

// beginReading counts a goroutine that reads, and admits its connection if it is not nil.
// It reports false if the server takes no more requests.
func (s *Server) beginReading(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c != nil {
		if s.quiescing.Load() {
			return false
		}
		s.conns[c] = struct{}{}
	}
	s.readers++
	return true
}

// endReading undoes beginReading: that goroutine executes nothing any more.
func (s *Server) endReading() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.readers--
	if s.readers == 0 { // the one that accepts counts too, so this happens at the end only
		close(s.quiet)
	}
}

func (s *Server) remove(c *conn) {
	c.guest.Leave()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
}

// accept takes connections until the listener is closed. Their goroutines are
// in running.
func (s *Server) accept(running *sync.WaitGroup) {
	defer s.endReading()
	for {
		nc, err := s.listener.Accept()
		switch {
		case err == nil:
			c := newConn(s, nc.(*net.TCPConn))
			switch {
			case !s.door.Enter(&c.guest, intake.Visit{At: intake.From(nc.RemoteAddr()), Bytes: strangerBytes, Closer: nc}):
				_ = nc.Close()
			case !s.beginReading(c):
				c.guest.Leave()
				_ = nc.Close()
			default:
				running.Go(c.serve)
			}
		case s.quiescing.Load() || errors.Is(err, net.ErrClosed):
			return
		default:
			s.log.WithError(err).Warn("accept failed")
			t := time.NewTimer(acceptRetry)
			select {
			case <-s.stopping:
			case <-t.C:
			}
			t.Stop()
		}
	}
}

// basic returns the options for a connection's basic frames.
func (s *Server) basic() basic.Options {
	return basic.Options{Via: Protocol, Wire: &s.opts.Wire, Gateway: s.opts.Gateway, TCPPort: s.Port, Door: s.opts.Gate.Streams(Protocol), Misread: s.misread.Frame}
}
