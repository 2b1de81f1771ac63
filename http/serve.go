package http

import (
	"cmp"
	"context"
	"fmt"
	golog "log"
	"net"
	nethttp "net/http"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"watchtower/auth"
	"watchtower/bridge"
	"watchtower/bridge/outbound"
	"watchtower/callback"
	"watchtower/history"
	"watchtower/intake"
)

// New returns a server for hub. It follows the history.
func New(hub *bridge.Hub, past *history.History, callbacks *callback.Service, opts Options, log *logrus.Logger) *Server {
	opts.StreamBytes = cmp.Or(opts.StreamBytes, streamBytes)
	if opts.Clock == nil {
		opts.Clock = time.Now
	}
	if opts.Intake == nil {
		opts.Intake = intake.New(intake.Options{Counters: hub.Counters(), Log: log})
	}
	s := &Server{
		hub:       hub,
		opts:      opts,
		log:       log,
		history:   past,
		proxies:   newProxies(opts.TrustedProxies),
		ingress:   newProxies(opts.Ingress),
		auth:      opts.Gate,
		requests:  auth.NewLimiter[bridge.SenderID](auth.Limit{Burst: opts.SenderRequests, Every: time.Second / time.Duration(opts.SenderRequests), Most: askersMost}, opts.Clock),
		streams:   &streams{most: opts.SenderStreams, open: map[*stream]struct{}{}, of: map[*bridge.Sender]int{}},
		callbacks: callbacks,
		conns:     &connections{fresh: map[net.Conn]struct{}{}},
		crew:      outbound.NewCrew(),
		gate:      &gate{empty: make(chan struct{})},
		door:      opts.Intake.Door(Protocol, "limits.http_connections", opts.HTTPConnections),
		cors:      newCORS(opts.CORSOrigins),
		mailboxes: map[*bridge.Sender]*mailbox{},
	}
	s.quiet, s.quieten = context.WithCancel(context.Background())
	s.metrics, s.refused = newMetrics(&metrics{hub, opts.Gate, s.streams, s.callbacks, opts.DeviceSessions, opts.MQTTSessions, opts.Ready, opts.Apart, opts.Leases, opts.MapSkips, opts.Foreign, opts.LastBackup})
	past.Follow(Protocol, &fanOut{})
	s.server = &nethttp.Server{
		Handler:                      s.routes(),
		ReadTimeout:                  opts.ReadTimeout,
		IdleTimeout:                  idleTimeout,
		MaxHeaderBytes:               headerBytes,
		ConnState:                    s.connState,
		ConnContext:                  withVisitor,
		ErrorLog:                     golog.New(errorLog{log}, "", 0),
		DisableGeneralOptionsHandler: true,
	}
	return s
}

// connState notes a new state of a connection of net/http's.
func (s *Server) connState(conn net.Conn, state nethttp.ConnState) {
	if v := visitorOf(conn); v != nil && state == nethttp.StateIdle {
		v.wait()
	}
	s.conns.changed(conn, state)
}

// Listen binds the address. A port that is taken is an error here, before Serve.
func (s *Server) Listen() error {
	l, err := net.Listen("tcp", s.opts.Listen)
	if err != nil {
		return fmt.Errorf("http.listen %s: %w", s.opts.Listen, err)
	}
	s.plain = visitors{l, s, false}
	return nil
}

// ListenTLS is Listen for HTTPS.
func (s *Server) ListenTLS() error {
	l, err := net.Listen("tcp", s.opts.TLSListen)
	if err != nil {
		return fmt.Errorf("http.tls_listen %s: %w", s.opts.TLSListen, err)
	}
	s.secure = securedListener{visitors{l, s, true}, s.opts.TLS}
	return nil
}

// Addr returns the address that Listen bound, or nil.
func (s *Server) Addr() net.Addr { return address(s.plain) }

// TLSAddr returns the address that ListenTLS bound, or nil.
func (s *Server) TLSAddr() net.Addr { return address(s.secure) }

func address(l net.Listener) net.Addr {
	if l == nil {
		return nil
	}
	return l.Addr()
}

func (s *Server) listeners() (bound []net.Listener) {
	for _, l := range []net.Listener{s.plain, s.secure} {
		if l != nil {
			bound = append(bound, l)
		}
	}
	return bound
}

// Serve takes requests until ctx ends. Then it takes the last messages from the history,
// writes the streams' waiting messages and ends them, within the drain timeout. It returns
// when all its goroutines have ended.
func (s *Server) Serve(ctx context.Context) error {
	var accept sync.WaitGroup
	failed := make(chan error, 2)
	for _, l := range s.listeners() {
		accept.Go(func() {
			if err := s.server.Serve(l); !s.gate.isClosed() {
				failed <- fmt.Errorf("http on %s: %w", l.Addr(), err)
			}
		})
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}

	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.opts.DrainTimeout)
	defer cancel()
	s.Quiesce(limit)
	accept.Wait()
	s.history.Drain(limit)
	s.streams.end()
	s.endMailboxes()
	s.conns.closeFresh()
	// Shutdown waits for answers in progress, Close ends those that take too long.
	_ = s.server.Shutdown(limit)
	_ = s.server.Close()
	s.conns.open.Wait()
	stop := context.AfterFunc(limit, s.streams.cutAll)
	defer stop()
	s.sockets.Wait()
	s.crew.Wait()
	return err
}

// Quiesce closes the listeners, and answers further requests with 503. It returns when the
// broadcasts and sends in progress are done, or ctx ends. Streams go on.
func (s *Server) Quiesce(ctx context.Context) {
	s.gate.close()
	s.quieten()
	for _, l := range s.listeners() {
		_ = l.Close() // fails only if Quiesce was called before
	}
	s.gate.wait(ctx)
}

// errorLog logs net/http's messages about connections.
type errorLog struct{ log *logrus.Logger }

func (e errorLog) Write(b []byte) (int, error) {
	e.log.WithField("message", string(b)).Warn("http connection failed")
	return len(b), nil
}
