package irc

import (
	"cmp"
	"context"
	"crypto/tls"
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
	"watchtower/history"
	"watchtower/intake"
)

// Protocol is IRC, as the hub knows it.
var Protocol = bridge.NewProtocol("irc")

// Rights are what a configured user may do, by the access list in force.
type Rights interface {
	MayRead(topic string) bool
	MayWrite(topic string) bool
	MayFollow(filter string) bool // some topic of that filter may be read
	Stands() bool                 // the user is still there, with the same password
}

// Users checks the passwords of configured users.
type Users interface {
	CheckPassword(ctx context.Context, who auth.Caller, user, password string) auth.Verdict
	Rights(user, client string) Rights
}

// Options of a Server: its settings, and values that are no settings.
type Options struct {
	config.IRC
	config.Limits

	TLS    *tls.Config                      // nil: no TLS
	Users  Users                            // nil: there are none
	Past   *history.History                 // nil: there is none
	Names  func() map[bridge.Channel]string // of channels, as configured now; nil: none
	State  func() []string                  // of the gateway, in lines for people; nil: none
	Gate   *auth.Gate                       // where wrong keys are counted; nil: nowhere
	Intake *intake.Intake                   // bounds strangers; nil: nothing does
}

const (
	// queueBytes is how many bytes may wait for one connection.
	queueBytes = 1 << 20
	// acceptRetry is the pause after a failed accept.
	acceptRetry = 100 * time.Millisecond
	// flushTimeout is how long connections have, at the end, to take what still waits for
	// them.
	flushTimeout = 2 * time.Second
)

// Server serves IRC.
type Server struct {
	hub      *bridge.Hub
	opts     Options
	log      *logrus.Entry
	name     string // in the source of replies
	begun    time.Time
	link     *bridge.Link
	plain    net.Listener
	secure   net.Listener
	crew     *outbound.Crew
	door     *intake.Door
	rooms    *rooms
	round    outbound.Round // of the link's goroutine
	rendered rendered       // likewise

	life      context.Context // until no more requests are taken
	endLife   context.CancelFunc
	quiescing atomic.Bool
	quiet     chan struct{} // the last request is done
	closing   chan struct{} // connections end

	mu      sync.Mutex
	conns   map[*conn]struct{}
	nicks   map[string]*conn // by their folded nicks
	readers int              // goroutines that accept or read
}

// New returns a server, and adds its link to the hub. It starts nothing.
func New(hub *bridge.Hub, opts Options, log *logrus.Logger) *Server {
	if opts.Intake == nil {
		opts.Intake = intake.New(intake.Options{Counters: hub.Counters(), Log: log})
	}
	s := &Server{
		hub:     hub,
		opts:    opts,
		log:     log.WithField("protocol", Protocol.String()),
		name:    serverName(hub.Tree().Gateway()),
		begun:   hub.Now(),
		link:    hub.AddLink(Protocol, bridge.LinkQueue, bridge.LinkPatience),
		crew:    outbound.NewCrew(),
		door:    opts.Intake.Door(Protocol, "limits.irc_connections", opts.IRCConnections),
		quiet:   make(chan struct{}),
		closing: make(chan struct{}),
		conns:   map[*conn]struct{}{},
		nicks:   map[string]*conn{},
	}
	s.life, s.endLife = context.WithCancel(context.Background())
	s.rooms = newRooms(s)
	hub.Directory().OnChange(s.rooms.refresh)
	return s
}

// Listen binds the port for plain connections. Serve closes it.
func (s *Server) Listen() (err error) {
	s.plain, err = listen(s.opts.Listen)
	return err
}

// ListenTLS binds the port for TLS. Serve closes it.
func (s *Server) ListenTLS() (err error) {
	s.secure, err = listen(s.opts.TLSListen)
	return err
}

func listen(at string) (net.Listener, error) {
	l, err := net.Listen("tcp", at)
	if err != nil {
		return nil, fmt.Errorf("irc: listen: %w", err)
	}
	return l, nil
}

// Addr and TLSAddr are where the server listens, after Listen and ListenTLS.
func (s *Server) Addr() net.Addr    { return s.plain.Addr() }
func (s *Server) TLSAddr() net.Addr { return s.secure.Addr() }

func (s *Server) listeners() (all []net.Listener) {
	for _, l := range []net.Listener{s.plain, s.secure} {
		if l != nil {
			all = append(all, l)
		}
	}
	return all
}

// Serve serves until ctx ends. Then it takes no more requests, empties the link into the
// queues and the queues into the connections, closes them, and returns when every goroutine
// has ended. With a context that has ended it just closes what Listen opened.
func (s *Server) Serve(ctx context.Context) error {
	if len(s.listeners()) == 0 {
		return errors.New("irc: Serve before Listen")
	}
	linkCtx, stopLink := context.WithCancel(context.WithoutCancel(ctx))
	defer stopLink()
	var link, running sync.WaitGroup
	link.Go(func() { s.link.Run(linkCtx, s.deliver) })
	s.mu.Lock()
	s.readers += len(s.listeners()) // at once: so that nothing is quiet before all have ended
	s.mu.Unlock()
	for _, l := range s.listeners() {
		running.Go(func() { s.accept(l, &running) })
	}
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
	return nil
}

func (s *Server) closeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		_ = c.nc.Close()
	}
}

// Quiesce takes no more connections and requests. It returns when the requests in progress
// are done, or ctx ends. Messages are still delivered until Serve's context ends.
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
	s.endLife()
	for _, l := range s.listeners() {
		_ = l.Close()
	}
	s.mu.Lock()
	for c := range s.conns {
		c.stopReading()
	}
	s.mu.Unlock()
}

// beginReading counts a goroutine that reads, and admits its connection. It reports false if
// the server takes no more requests.
func (s *Server) beginReading(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.quiescing.Load() {
		return false
	}
	s.conns[c] = struct{}{}
	s.readers++
	return true
}

// endReading undoes beginReading: that goroutine executes nothing any more.
func (s *Server) endReading() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.readers--
	if s.readers == 0 {
		close(s.quiet)
	}
}

func (s *Server) remove(c *conn) {
	c.guest.Leave()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
}

// accept takes connections until the listener is closed. Their goroutines are in running.
func (s *Server) accept(l net.Listener, running *sync.WaitGroup) {
	defer s.endReading()
	for {
		nc, err := l.Accept()
		switch {
		case err == nil:
			s.welcomeIn(nc, l == s.secure, running)
		case s.quiescing.Load() || errors.Is(err, net.ErrClosed):
			return
		default:
			s.log.WithError(err).Warn("accept failed")
			t := time.NewTimer(acceptRetry)
			select {
			case <-s.life.Done():
			case <-t.C:
			}
			t.Stop()
		}
	}
}

func (s *Server) welcomeIn(nc net.Conn, secure bool, running *sync.WaitGroup) {
	outbound.EndStuck(nc, s.opts.WriteTimeout)
	from := nc.RemoteAddr()
	if secure {
		nc = tls.Server(nc, s.opts.TLS)
	}
	c := newConn(s, nc)
	switch {
	case !s.door.Enter(&c.guest, intake.Visit{At: intake.From(from), Bytes: strangerBytes, Closer: nc}):
		_ = nc.Close()
	case !s.beginReading(c):
		c.guest.Leave()
		_ = nc.Close()
	default:
		c.start()
		running.Go(c.serve)
	}
}

// serverName is the source of replies. It has a dot, which no nick has.
func serverName(gateway string) string {
	return writable(cmp.Or(gateway, "gateway")) + ".watchtower"
}
