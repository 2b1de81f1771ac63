// Package udp is the bridge between UDP clients and the gateway's verbs. It owns one
// socket, and moves its datagrams. The packages basic and session know what a frame means;
// bridge knows who is a member.
//
// One goroutine reads datagrams in batches, executes them and writes the
// replies. Another takes messages from the link and writes them to the members,
// also in batches: a message is encoded once, and all its members share the
// bytes. Nothing waits for a receiver.
package udp

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"

	"watchtower/auth"
	"watchtower/bridge"
	"watchtower/config"
	"watchtower/datagram"
	"watchtower/intake"
	"watchtower/ticker"
	"watchtower/wire/basic"
	"watchtower/wire/session"
)

// Options of a Server: its settings, and values that are no settings.
type Options struct {
	config.UDP
	config.Wire
	config.Limits

	SendBuffer int           // bytes that may wait in the socket, as far as the system allows; 0: 4 MiB
	Gateway    uint32        // the gateway's number, for W
	TCPPort    func() uint16 // its TCP port, for W; nil: none
	Keys       session.Keys  // of the devices; nil: those of an open gateway
	Gate       *auth.Gate    // where wrong keys are counted; nil: nowhere
}

const (
	socketBuffer = 4 << 20 // bytes each way, as far as the system allows
	smallBuffer  = 1 << 20 // bytes as the system counts: its own for each datagram count too
	sweepEvery   = time.Second
	laterQueue   = 1024                   // registrations that wait for the disk
	readRetry    = 100 * time.Millisecond // after a failed read, so that a lasting failure costs little
)

// Unsendable is for datagrams that could not be sent.
var Unsendable = bridge.NewReason("unsendable")

// Protocol is UDP, as the hub knows it.
var Protocol = bridge.NewProtocol("udp")

// Server serves the wire protocol over UDP.
type Server struct {
	hub      *bridge.Hub
	opts     Options
	log      *logrus.Entry
	misread  *intake.Misread
	link     *bridge.Link
	table    *basic.Table
	sessions *session.Table
	conn     *net.UDPConn
	socket   *datagram.Socket
	absent   *absent
	fan      fanOut

	due   chan struct{}           // something is due earlier than the sessions said
	later chan func(*session.Out) // what waits for the disk

	waiting sync.Mutex // held by a write that waits for room in the socket

	stop     sync.Once
	stopping chan struct{} // no more requests are taken
	readDone chan struct{} // the last request is done
}

// New returns a server, and adds its link to the hub. It starts nothing.
func New(hub *bridge.Hub, opts Options, log *logrus.Logger) *Server {
	entry := log.WithField("protocol", Protocol.String())
	misread := intake.NewMisread(entry)
	s := &Server{
		hub:     hub,
		opts:    opts,
		log:     entry,
		misread: misread,
		link:    hub.AddLink(Protocol, bridge.LinkQueue, bridge.LinkPatience),
		table: basic.NewTable(hub, basic.Options{
			Via:  Protocol,
			Wire: &opts.Wire, Limits: &opts.Limits, Gateway: opts.Gateway, TCPPort: opts.TCPPort, Source: intake.Of,
			Door: opts.Gate.Datagrams(Protocol), Misread: misread.Frame,
		}, newReceiver),
		due:      make(chan struct{}, 1),
		later:    make(chan func(*session.Out), laterQueue),
		stopping: make(chan struct{}),
		readDone: make(chan struct{}),
	}
	s.sessions = session.NewTable(hub, opts.Keys, session.Options{
		Via:  Protocol,
		Wire: &opts.Wire, Limits: &opts.Limits, Member: func(s *session.Session) any { return (*sessionMember)(s) },
		Wake: s.wake, Later: s.putOff, Door: opts.Gate.Datagrams(Protocol), Misread: misread.Frame,
	})
	return s
}

// receiver is a basic member: the address to send to, and the one to send from.
type receiver struct {
	at    netip.AddrPort
	local atomic.Uint32 // the gateway's address that it speaks to: a datagram.Local
}

func newReceiver(at netip.AddrPort) any { return &receiver{at: at} }

// ReachedAt notes the gateway's address that the device uses.
func (r *receiver) ReachedAt(local uint32) {
	if r.local.Load() != local {
		r.local.Store(local)
	}
}

// Listen binds the socket. Serve closes it.
func (s *Server) Listen() error {
	addr, err := net.ResolveUDPAddr("udp", s.opts.Listen)
	if err != nil {
		return fmt.Errorf("udp: listen: %w", err)
	}
	s.conn, err = net.ListenUDP("udp", addr)
	if err != nil {
		return fmt.Errorf("udp: listen: %w", err)
	}
	// Best effort: a system that caps its buffers drops sooner in a burst.
	_ = s.conn.SetReadBuffer(socketBuffer)
	_ = s.conn.SetWriteBuffer(cmp.Or(s.opts.SendBuffer, socketBuffer))
	if s.socket, err = datagram.Of(s.conn); err != nil {
		return fmt.Errorf("udp: listen: %w", err)
	}
	s.absent = newAbsent(s.socket)
	if n := s.absent.buffer; n > 0 && n < smallBuffer {
		s.log.WithFields(logrus.Fields{"granted": n, "wanted": 2 * socketBuffer, "sysctl": "net.core.wmem_max"}).Warn("small send buffer: bursts to many devices may be lost")
	}
	s.fan.out = s.outgoing()
	s.log.WithField("address", s.conn.LocalAddr().String()).Debug("listening")
	return nil
}

// Addr is where the server listens, after Listen.
func (s *Server) Addr() net.Addr { return s.conn.LocalAddr() }

// Serve serves until ctx ends. Then it takes no more requests, sends what the
// link holds, closes the socket, and returns when every goroutine has ended.
// With a context that has ended it just closes what Listen opened.
func (s *Server) Serve(ctx context.Context) error {
	if s.conn == nil {
		return errors.New("udp: Serve before Listen")
	}
	linkCtx, stopLink := context.WithCancel(context.WithoutCancel(ctx))
	defer stopLink()
	var running sync.WaitGroup
	running.Go(s.read)
	running.Go(func() { s.sweep(ctx) })
	running.Go(func() { s.advance(linkCtx) })
	running.Go(func() { s.register(linkCtx) })
	running.Go(func() { s.link.Run(linkCtx, s.deliver) })

	<-ctx.Done()
	s.stopReading()
	<-s.readDone // so that what came in last is in the link before it drains
	stopLink()
	running.Wait()
	s.table.Close()
	s.sessions.Close()
	err := s.conn.Close()
	s.absent.close()
	s.log.Debug("closed")
	return err
}

// Quiesce stops taking requests. It returns when those in progress are done, or ctx ends.
// Messages are still delivered until Serve's context ends.
func (s *Server) Quiesce(ctx context.Context) {
	s.stopReading()
	select {
	case <-s.readDone:
	case <-ctx.Done():
	}
}

func (s *Server) stopReading() {
	s.stop.Do(func() {
		close(s.stopping)
		_ = s.conn.SetReadDeadline(time.Unix(1, 0)) // ends the read that waits
	})
}

// sweep lets silent clients leave.
func (s *Server) sweep(ctx context.Context) {
	t := ticker.New(sweepEvery)
	defer t.Stop()
	for {
		select {
		case now := <-t.C:
			t.Next()
			s.table.Sweep(now)
		case <-ctx.Done():
			return
		}
	}
}

func (s *Server) outgoing() outgoing {
	return outgoing{batch: &batch{
		conn: s.conn, out: s.socket.Writer(s.opts.SegmentationOffload), absent: s.absent, waiting: &s.waiting, counters: s.hub.Counters(), receiver: s.receiver, log: s.log,
	}}
}

// receiver returns the sender at an address; nil: there is none.
func (s *Server) receiver(at netip.AddrPort) *bridge.Sender {
	return cmp.Or(s.table.Receiver(at), s.sessions.Receiver(at))
}

func (s *Server) wake() {
	select {
	case s.due <- struct{}{}:
	default:
	}
}

// advance sends what sessions have to send without being asked.
func (s *Server) advance(ctx context.Context) {
	out := s.outgoing()
	t := time.NewTimer(0)
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-s.due:
		case <-ctx.Done():
			return
		}
		next := s.sessions.Advance(&out.sessions)
		out.flush()
		if next < 0 {
			t.Stop()
			continue
		}
		t.Reset(next)
	}
}

// putOff has register call a function that waits for the disk, if there is room.
func (s *Server) putOff(do func(*session.Out)) bool {
	select {
	case s.later <- do:
		return true
	default:
		return false
	}
}

// register answers the registrations that had to wait for the disk.
func (s *Server) register(ctx context.Context) {
	out := s.outgoing()
	for {
		select {
		case do := <-s.later:
			do(&out.sessions)
			out.flush()
		case <-ctx.Done():
			return
		}
	}
}

// ended reports whether reading is over after an error. If not, it has logged
// the error and waited a little.
func (s *Server) ended(err error) bool {
	select {
	case <-s.stopping:
		return true
	default:
	}
	if errors.Is(err, net.ErrClosed) {
		return true
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return false
	}
	s.log.WithError(err).Warn("read failed")
	t := time.NewTimer(readRetry)
	defer t.Stop()
	select {
	case <-s.stopping:
		return true
	case <-t.C:
		return false
	}
}
