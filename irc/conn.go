package irc

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/ergochat/irc-go/ircmsg"
	"github.com/oklog/ulid/v2"

	"watchtower/bridge"
	"watchtower/bridge/outbound"
	"watchtower/intake"
)

// registerFor is how long a connection has to register.
const registerFor = 30 * time.Second

var (
	past = time.Unix(1, 0) // a deadline that ends a read at once

	// Why a connection ends.
	errSlow    = errors.New("irc: a reply does not fit the queue")
	errSilent  = errors.New("irc: it is silent")
	errQuit    = errors.New("irc: it said QUIT")
	errRefused = errors.New("irc: it may not register")
)

// conn is one connection.
type conn struct {
	server *Server
	nc     net.Conn
	from   netip.AddrPort
	in     lineReader
	queue  *outbound.Queue
	writer *outbound.Writer
	guest  intake.Guest
	ended  atomic.Pointer[string] // why the gateway ends it, for ERROR

	// Of the goroutine that reads:
	pace    pace
	pinged  bool // and it has said nothing since
	hello   hello
	batches int // so far

	caps     atomic.Uint32
	who      atomic.Pointer[identity] // nil: it has not registered
	awayText atomic.Pointer[string]   // nil: its person is there

	mu     sync.Mutex // may be taken before the hub's lock, never after
	joined map[bridge.Channel]*bridge.Attachment

	// Of the link's goroutine, the last message that it was given: during a change of the nick it
	// is on a channel twice.
	last   ulid.ULID
	lastOn bridge.Channel
}

func newConn(s *Server, nc net.Conn) *conn {
	c := &conn{server: s, nc: nc, queue: outbound.NewQueue(s.opts.Queue, queueBytes), joined: map[bridge.Channel]*bridge.Attachment{}}
	if at, ok := nc.RemoteAddr().(*net.TCPAddr); ok {
		at := at.AddrPort()
		c.from = netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
	}
	c.in.from = nc
	c.writer = outbound.NewWriter(c.queue, outbound.Options{Timeout: s.opts.WriteTimeout, Crew: s.crew, Ended: func(err error) {
		if err != nil {
			_ = nc.Close() // ends the reader too
		}
	}})
	return c
}

func (c *conn) start() { c.writer.Start(c.nc) }

// serve reads until the connection ends, and then writes what still waits.
func (c *conn) serve() {
	s := c.server
	defer s.remove(c)
	written := c.writer.Done()
	err := c.read()
	s.endReading()
	if err == nil { // Quiesce: it stays a member until the server closes
		select {
		case <-s.closing:
			c.end("The gateway ends")
		case <-written:
		}
	}
	who := c.who.Load()
	if who != nil {
		who.hold.Left(departure(err))
	}
	c.leaveAll()
	if text := c.ended.Load(); text != nil {
		_ = c.put([]byte("ERROR :" + *text + "\r\n"))
	}
	if errors.Is(err, errSlow) {
		_ = c.nc.Close() // it would not read what waits either
	}
	c.writer.Close()
	<-written
	var sender *bridge.Sender
	if who != nil {
		sender = who.hold.Sender()
		c.giveBack(who)
	}
	s.hub.Counters().Lose(sender, Protocol, bridge.Disconnected, c.queue.Close())
	if c.ended.Load() != nil {
		outbound.Drain(c.nc) // so that the client reads why
	}
	_ = c.nc.Close()
}

// departure is why a client left, by the error that ended its reading.
func departure(err error) bridge.Departure {
	switch {
	case err == nil:
		return bridge.LeftUnnoticed
	case errors.Is(err, errQuit):
		return bridge.LeftByGoodbye
	case errors.Is(err, errSilent):
		return bridge.LeftBySilence
	case errors.Is(err, errSlow):
		return bridge.LeftTooSlow
	}
	return bridge.LeftByLoss
}

// end has the connection end, with an ERROR that says why. It may be called from any goroutine.
func (c *conn) end(why string) {
	c.ended.CompareAndSwap(nil, &why)
	c.stopReading()
}

// stopReading ends a read that waits. It may be called from any goroutine.
func (c *conn) stopReading() { _ = c.nc.SetReadDeadline(past) }

// read executes lines until the connection ends, with the reason, or until Quiesce, with nil.
func (c *conn) read() error {
	s := c.server
	log := s.log.WithField("address", c.from.String())
	log.Debug("connected")
	began := time.Now()
	for {
		err := c.next(began)
		switch {
		case c.ended.Load() != nil && (err == nil || errors.Is(err, os.ErrDeadlineExceeded)):
			return net.ErrClosed
		case s.quiescing.Load() && (err == nil || errors.Is(err, os.ErrDeadlineExceeded)):
			return nil
		case err != nil:
			log.WithError(err).Debug("disconnected")
			return err
		}
	}
}

// next reads one line and executes it.
func (c *conn) next(began time.Time) error {
	known, most := c.who.Load(), lineBytes+tagBytes
	until := time.Now().Add(c.server.opts.PingInterval)
	if known == nil {
		until, most = began.Add(registerFor), lineBytes*2
	}
	_ = c.nc.SetReadDeadline(until) // fails on a closed connection, as reading then does
	if c.server.quiescing.Load() || c.ended.Load() != nil {
		return nil // stopReading may have come in between
	}
	line, err := c.in.next(most)
	switch {
	case errors.Is(err, errLong):
		c.server.hub.Counters().Drop(Protocol, bridge.Malformed, 1)
		return c.reply(errInputTooLong, "Input line was too long")
	case errors.Is(err, os.ErrDeadlineExceeded) && !c.server.quiescing.Load() && c.ended.Load() == nil:
		return c.silent(known)
	case err != nil:
		return err
	}
	c.pinged = false
	if known != nil {
		known.hold.Heard(time.Now())
		if known.rights != nil && !known.rights.Stands() {
			c.end("Your password has changed")
			return errRefused
		}
	}
	if err := c.slow(); err != nil {
		return err
	}
	return c.take(line)
}

// silent asks a client that says nothing whether it is there. The second time it ends.
func (c *conn) silent(known *identity) error {
	switch {
	case known == nil:
		c.end("You did not register in time")
		return errSilent
	case c.pinged:
		c.end("Ping timeout")
		return errSilent
	}
	c.pinged = true
	return c.put([]byte("PING :" + c.server.name + "\r\n"))
}

// slow waits while the client is faster than it may be.
func (c *conn) slow() error {
	left := c.pace.wait(time.Now())
	if left <= 0 {
		return nil
	}
	t := time.NewTimer(left)
	defer t.Stop()
	select {
	case <-t.C:
	case <-c.server.life.Done():
	case <-c.writer.Done():
		return io.ErrClosedPipe
	}
	return nil
}

// take parses a line and executes it.
func (c *conn) take(line []byte) error {
	m, err := ircmsg.ParseLineStrict(string(line), true, lineBytes)
	switch {
	case errors.Is(err, ircmsg.ErrorBodyTooLong), errors.Is(err, ircmsg.ErrorTagsTooLong):
		c.server.hub.Counters().Drop(Protocol, bridge.Malformed, 1)
		return c.reply(errInputTooLong, "Input line was too long")
	case err != nil:
		c.server.hub.Counters().Drop(Protocol, bridge.Malformed, 1)
		return nil
	case !utf8.Valid(line):
		c.server.hub.Counters().Drop(Protocol, bridge.Malformed, 1)
		return c.put(appendLine(nil, c.server.name, "FAIL", shown(strings.ToUpper(m.Command)), "INVALID_UTF8", "What is said here has to be UTF-8"))
	}
	return c.execute(strings.ToUpper(m.Command), m.Params)
}

// put queues lines, complete with their ends. It fails if there is no room.
func (c *conn) put(lines []byte) error {
	if len(lines) == 0 {
		return nil
	}
	if !c.queue.Put(lines) {
		return errSlow
	}
	c.writer.Wake()
	return nil
}

// reply answers by a number. The last parameter may have spaces.
func (c *conn) reply(number string, params ...string) error {
	return c.put(c.numbered(nil, number, params...))
}

// numbered appends a reply.
func (c *conn) numbered(b []byte, number string, params ...string) []byte {
	return appendLine(b, c.server.name, number, append([]string{c.nick()}, params...)...)
}

// nick is the client's nick; * before it has registered.
func (c *conn) nick() string {
	if who := c.who.Load(); who != nil {
		return who.nick
	}
	return "*"
}
