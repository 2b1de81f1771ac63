package mdns

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"watchtower/ticker"
)

const (
	lookEvery = 5 * time.Second  // at the interfaces
	openEvery = 10 * time.Second // tries to open a socket whose port another program keeps
	readPause = time.Second      // after a socket's fault
)

// Server announces services as long as Serve runs.
type Server struct {
	o   Options
	log logrus.FieldLogger

	mu        sync.Mutex // guards all below
	responder *responder
	sockets   map[bool]*socket // by whether it is of IPv6
	opened    time.Time        // the last try
	quiet     bool             // it was said that there is no socket
	readers   sync.WaitGroup
	wake      chan struct{} // has room for one
}

// New starts nothing.
func New(o Options, log logrus.FieldLogger) *Server {
	return &Server{o: o, log: log, sockets: map[bool]*socket{}, wake: make(chan struct{}, 1)}
}

// Serve announces the services on each interface where they listen, until ctx ends. Then it
// says goodbye. It fails at nothing: without a socket or an interface it looks again later.
func (s *Server) Serve(ctx context.Context) error {
	s.responder = newResponder(s.o, s.o.Services(), s.send, func(taken string) {
		s.log.WithField("name", taken).Info("another has this name in the local network: announced with a number")
	})
	look := ticker.New(lookEvery)
	defer look.Stop()
	timer := time.NewTimer(0)
	defer timer.Stop()
	s.look(ctx)
	for {
		s.mu.Lock()
		next := s.responder.advance(time.Now())
		s.mu.Unlock()
		timer.Stop()
		if !next.IsZero() {
			timer.Reset(time.Until(next))
		}
		select {
		case <-ctx.Done():
			s.close()
			return nil
		case <-look.C:
			look.Next()
			s.look(ctx)
		case <-timer.C:
		case <-s.wake:
		}
	}
}

// Quiesce does nothing: the services are announced until Serve ends.
func (s *Server) Quiesce(context.Context) {}

// close says goodbye, and waits for the readers.
func (s *Server) close() {
	s.mu.Lock()
	s.responder.goodbye(time.Now())
	for _, o := range s.sockets {
		_ = o.conn.Close()
	}
	s.mu.Unlock()
	s.readers.Wait()
}

// look looks which interfaces there are.
func (s *Server) look(ctx context.Context) {
	now := time.Now()
	all, err := places()
	if err != nil {
		s.log.WithError(err).Debug("network interfaces not listed")
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	links := map[bool][]net.Interface{}
	for _, id := range s.responder.set(now, all) {
		links[id.v6] = append(links[id.v6], s.responder.links[id].place.Interface)
	}
	open := now.Sub(s.opened) >= openEvery
	for v6, interfaces := range links {
		if s.sockets[v6] == nil && open {
			s.open(ctx, now, v6)
		}
		if o := s.sockets[v6]; o != nil {
			joined, err := o.follow(interfaces)
			if err != nil {
				s.log.WithError(err).Debug("multicast group not joined")
			}
			s.responder.reached(now, v6, joined)
		}
	}
	for v6, o := range s.sockets {
		if links[v6] == nil {
			_, _ = o.follow(nil) // it leaves all
		}
	}
}

func (s *Server) open(ctx context.Context, now time.Time, v6 bool) {
	s.opened = now
	o, err := openSocket(v6, groupOf(v6))
	if err != nil {
		if !s.quiet {
			s.log.WithError(err).Warn("not announced in the local network: another program keeps port 5353 for itself (mdns: false turns this off)")
		}
		s.quiet = true
		return
	}
	s.sockets[v6] = o
	s.readers.Go(func() { s.read(ctx, o) })
}

// send sends what the responder says. What cannot be sent counts as lost on the way.
func (s *Server) send(on linkID, to netip.AddrPort, b []byte) {
	o := s.sockets[on.v6]
	if o == nil {
		return
	}
	if i, ok := o.links[on.index]; ok {
		if err := o.send(i, to, b); err != nil {
			s.log.WithError(err).WithField("interface", i.Name).Debug("multicast DNS not sent")
		}
	}
}

// read takes messages until the socket is closed.
func (s *Server) read(ctx context.Context, o *socket) {
	b := make([]byte, largest)
	for {
		n, index, from, err := o.read(b)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			select {
			case <-ctx.Done():
				return
			case <-time.After(readPause):
			}
			continue
		}
		s.take(o.v6, index, from, b[:n])
	}
}

func (s *Server) take(v6 bool, index int, from netip.AddrPort, b []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.responder.links {
		if l.id.v6 == v6 && (l.id.index == index || index == 0 && l.place.neighbour(from.Addr())) {
			s.responder.take(time.Now(), l.id, from, b)
			break
		}
	}
	select {
	case s.wake <- struct{}{}:
	default:
	}
}
