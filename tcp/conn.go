package tcp

import (
	"bufio"
	"cmp"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"time"

	"watchtower/bridge"
	"watchtower/bridge/outbound"
	"watchtower/intake"
	"watchtower/wire"
	"watchtower/wire/basic"
	"watchtower/wire/frame"
	"watchtower/wire/session"
)

const (
	// Sizes of the read buffer in bytes: idleBuffer at first, busyBuffer once a
	// registered connection has filled that. The longest header of a frame fits: an S
	// with 255 receivers has 1,034.
	idleBuffer = 1152
	busyBuffer = 4 << 10
	// strangerBytes is the charge in bytes for a connection that has not registered.
	strangerBytes = 4 << 10
	// strangerFrame is the longest frame in bytes that registers, with some room: a K has
	// up to 257, an r 299.
	strangerFrame = 300
)

// past is a deadline that ends a read at once.
var past = time.Unix(1, 0)

// errSlow ends a connection whose replies its peer does not read.
var errSlow = errors.New("tcp: a reply does not fit the queue")

// conn is one connection. As a basic member it takes messages from the link.
type conn struct {
	server   *Server
	conn     *net.TCPConn
	basic    *basic.Conn
	session  *session.Conn
	queue    *outbound.Queue
	writer   *outbound.Writer
	guest    intake.Guest
	stranger time.Time // since when it is not registered

	in       *bufio.Reader
	known    bool      // registered, as far as the guest was told
	filled   bool      // the last read filled its buffer
	begun    bool      // the deadline is that of the frame being read
	deadline time.Time // for reading; zero: none
	reply    []byte    // the last one

}

func newConn(s *Server, nc *net.TCPConn) *conn {
	c := &conn{
		server:   s,
		conn:     nc,
		queue:    outbound.NewQueue(s.opts.Queue, s.opts.QueueBytes),
		stranger: time.Now(),
	}
	c.in = bufio.NewReaderSize(c, idleBuffer)
	c.basic = basic.NewConn(s.hub, s.basic(), c.From().Addr(), c)
	c.session = session.NewConn(s.hub, s.sessions, session.Options{Wire: &s.opts.Wire, Misread: s.misread.Frame}, c)
	c.queue.SetStamp(c.session.Stamp)
	outbound.EndStuck(nc, s.opts.WriteTimeout)
	c.writer = outbound.NewWriter(c.queue, outbound.Options{Timeout: s.opts.WriteTimeout, Crew: s.crew, Ended: func(err error) {
		if err != nil {
			_ = nc.Close() // ends the reader too
		}
	}})
	c.writer.Start(nc)
	return c
}

// Read reads from the socket, for the buffer.
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.conn.Read(p)
	c.filled = n == len(p)
	return n, err
}

// refusal is an error in what the peer sent, not of the connection.
type refusal struct {
	error
	told bool // the peer has been answered already
}

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
		case <-written:
		}
	}
	if errors.Is(err, io.EOF) {
		c.hearOut(written)
	}
	receiver := cmp.Or(c.basic.Receiver(), c.session.Receiver())
	c.basic.Left(departure(err))
	c.basic.Close()
	c.session.Close()
	if errors.Is(err, errSlow) {
		_ = c.conn.Close() // it would not read what waits either
	}
	c.writer.Close()
	<-written
	s.hub.Counters().Lose(receiver, Protocol, bridge.Disconnected, c.queue.Close())
	if errors.As(err, new(refusal)) {
		outbound.Drain(c.conn) // so that the device reads the refusal
	}
	_ = c.conn.Close()
}

// departure is why a device with basic frames left, by the error that ended its reading. Those
// frames have no goodbye.
func departure(err error) bridge.Departure {
	switch {
	case err == nil:
		return bridge.LeftUnnoticed
	case errors.As(err, new(refusal)):
		return bridge.LeftByMistake
	}
	return bridge.LeftByLoss
}

// read executes frames until the connection ends, with the reason, or until
// Quiesce, with nil.
func (c *conn) read() error {
	s := c.server
	log := s.log.WithField("address", c.conn.RemoteAddr().String())
	log.Debug("connected")
	var err error
	for err == nil && !s.quiescing.Load() {
		err = c.next()
	}
	var refused refusal
	switch {
	case errors.As(err, &refused) && !refused.told:
		_ = c.answer(c.basic.Refuse(refused.error, c.reply[:0]))
	case err == nil, s.quiescing.Load() && errors.Is(err, os.ErrDeadlineExceeded):
		return nil
	}
	log.WithError(err).Debug("disconnected")
	return err
}

// next reads one frame and executes it.
func (c *conn) next() error {
	if c.filled && c.known && c.in.Buffered() == 0 && c.in.Size() < busyBuffer {
		c.in = bufio.NewReaderSize(c, busyBuffer)
	}
	n, err := c.length()
	switch {
	case err != nil:
		return err
	case n > strangerFrame && !c.registered():
		return c.pass(n)
	case n > c.in.Size():
		return c.large(n)
	}
	b, err := c.peek(n)
	if err != nil {
		return err
	}
	err = c.execute(b)
	_, _ = c.in.Discard(n) // it is in the buffer: cannot fail
	return err
}

// large reads a frame that does not fit the buffer, and executes it. Its memory
// grows with what has arrived.
func (c *conn) large(n int) error {
	c.inFrame()
	loan := c.server.opts.Intake.Lend(Protocol, c)
	defer loan.Close()
	b, err := intake.Read(c.in, nil, intake.Free, n, &loan)
	switch {
	case errors.Is(err, intake.ErrFull):
		return c.busy(b)
	case errors.Is(err, io.EOF):
		return io.ErrUnexpectedEOF
	case err != nil:
		return err
	}
	return c.execute(b)
}

// busy answers a frame for which there is no memory, and ends the connection. B is the
// beginning of the frame.
func (c *conn) busy(b []byte) error {
	if frame.Is(b) {
		c.reply = c.session.Busy(b, c.reply[:0])
	} else {
		c.reply = wire.AppendError(c.reply[:0])
	}
	if err := c.answer(c.reply); err != nil {
		return err
	}
	return refusal{intake.ErrFull, true}
}

// pass answers a stranger's frame that is too long to register, by its header, and skips
// the rest. The frame is for an id that this connection does not have.
func (c *conn) pass(n int) error {
	c.inFrame()
	head, err := c.in.Peek(frame.HeaderSize)
	if err != nil {
		return err
	}
	if !frame.Is(head) {
		c.reply = wire.AppendError(c.reply[:0])
		if err := c.answer(c.reply); err != nil {
			return err
		}
		_, err = c.in.Discard(n)
		return err
	}
	short := append(make([]byte, 0, frame.Overhead), head...)
	if _, err := c.in.Discard(n - frame.TagSize); err != nil {
		return err
	}
	tag, err := c.in.Peek(frame.TagSize)
	if err != nil {
		return err
	}
	c.reply = c.session.Passed(append(short, tag...), c.reply[:0])
	_, _ = c.in.Discard(frame.TagSize) // it is in the buffer: cannot fail
	return c.answer(c.reply)
}

// length waits for a frame to begin, and returns its length. It skips zeros and line ends
// between frames.
func (c *conn) length() (int, error) {
	for {
		if c.in.Buffered() == 0 {
			c.betweenFrames()
		}
		b, err := c.in.Peek(1)
		if err != nil {
			return 0, err
		}
		if b[0] != 0 && b[0] != '\n' && b[0] != '\r' {
			break
		}
		_, _ = c.in.Discard(1)
	}
	c.begun = false
	for need := 1; ; need++ {
		b, err := c.peek(max(need, c.in.Buffered()))
		if err != nil {
			return 0, err
		}
		need = len(b)
		n, err := c.frameLength(b)
		if err != nil {
			return 0, refusal{error: err}
		}
		if n != 0 {
			return n, nil
		}
	}
}

// frameLength returns the length of the frame at the start of b, or 0 while more bytes
// are needed to know.
func (c *conn) frameLength(b []byte) (int, error) {
	if frame.Is(b) {
		return frame.Length(b), nil
	}
	return c.basic.Length(b)
}

// peek waits for n bytes of a frame.
func (c *conn) peek(n int) ([]byte, error) {
	if n > c.in.Buffered() {
		c.inFrame()
	}
	return c.in.Peek(n)
}

// betweenFrames sets the deadline for the next frame. A stranger has the frame timeout, a
// session its life, and a basic client has none.
func (c *conn) betweenFrames() {
	if c.known {
		c.basic.Heard(time.Now())
	}
	until := c.session.Expires()
	if !c.registered() {
		until = c.stranger.Add(c.server.opts.FrameTimeout)
	}
	c.setDeadline(until)
}

// inFrame sets the deadline for the rest of a frame: the frame timeout, counted from the
// frame's beginning or, for a stranger, from when it became one.
func (c *conn) inFrame() {
	if c.begun {
		return
	}
	c.begun = true
	until := time.Now()
	if !c.registered() {
		until = c.stranger
	}
	c.setDeadline(until.Add(c.server.opts.FrameTimeout))
}

func (c *conn) registered() bool { return c.basic.Registered() || c.session.Registered() }

func (c *conn) setDeadline(until time.Time) {
	if until.Equal(c.deadline) {
		return
	}
	c.deadline = until
	_ = c.conn.SetReadDeadline(until) // fails on a closed connection, as reading then does
	if c.server.quiescing.Load() {
		c.stopReading() // Quiesce may have come in between
	}
}

// stopReading ends a read that waits. It may be called from any goroutine.
func (c *conn) stopReading() { _ = c.conn.SetReadDeadline(past) }

func (c *conn) execute(b []byte) (err error) {
	if !frame.Is(b) {
		c.reply, err = c.basic.Handle(b, c.reply[:0])
		if err != nil {
			return refusal{error: err}
		}
	} else {
		c.reply = c.session.Handle(b, c.reply[:0])
		c.writer.Wake() // the session may have put something
	}
	if now := c.registered(); now != c.known && !c.turned(now) {
		return net.ErrClosed
	}
	return c.answer(c.reply)
}

// turned notes that the connection has registered, or is a stranger again. It reports
// false if there is no room for a stranger.
func (c *conn) turned(known bool) bool {
	c.known = known
	if known {
		c.guest.Know()
		return true
	}
	c.stranger = time.Now()
	return c.guest.Estrange(strangerBytes, c.conn)
}

// From, Put, Displaced and Member implement session.Owner.

// From is where the connection comes from.
func (c *conn) From() netip.AddrPort {
	at := c.conn.RemoteAddr().(*net.TCPAddr).AddrPort()
	return netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
}

// Put queues a frame. Whoever called the session wakes the writer.
func (c *conn) Put(b []byte, mark uint64) bool { return c.queue.PutMarked(b, mark) }

// Displaced ends the connection: its device would not notice otherwise.
func (c *conn) Displaced() { _ = c.conn.Close() }

// Member is what gets a session's messages.
func (c *conn) Member(st *session.Stream) any { return sessionMember{c, st} }

// answer queues a copy of a reply, if there is one.
func (c *conn) answer(reply []byte) error {
	if len(reply) == 0 {
		return nil
	}
	if !c.queue.Put(append([]byte(nil), reply...)) {
		return errSlow
	}
	c.writer.Wake()
	return nil
}
