package bench

import (
	"errors"
	"fmt"
	"net"

	"watchtower/wire"
)

// basicFrames writes requests of basic frames.
type basicFrames struct {
	server *server
	id     uint32
}

func (b *basicFrames) number() uint32 { return b.id }

// message appends a broadcast, or a message to the receivers that the run sends to.
func (b *basicFrames) message(to []byte, channel uint32, payload []byte) ([]byte, error) {
	r := wire.Request{Op: wire.OpMessage, ID: b.id, Channel: channel, Data: payload}
	if len(b.server.to) > 0 {
		r.Op, r.Receivers = wire.OpSend, wire.AppendIDs(nil, b.server.to...)
	}
	return wire.AppendRequest(to, r)
}

// registration returns the request that registers at this server.
func (b *basicFrames) registration() wire.Request {
	if key := b.server.opts.SecretKey; key != "" {
		return wire.Request{Op: wire.OpKey, Key: []byte(key)}
	}
	return wire.Request{Op: wire.OpRegister}
}

// begin registers. Ask sends a request and returns the answer's value.
func (b *basicFrames) begin(ask func(wire.Request) (uint32, error)) (err error) {
	if b.id, err = ask(b.registration()); err != nil {
		return fmt.Errorf("registering: %w", err)
	}
	return nil
}

func (b *basicFrames) joinBy(ask func(wire.Request) (uint32, error), channels []uint32) error {
	for _, c := range channels {
		if _, err := ask(wire.Request{Op: wire.OpJoin, ID: b.id, Channel: c}); err != nil {
			return fmt.Errorf("joining: %w", err)
		}
	}
	return nil
}

var errRefused = errors.New("the server refuses: --secret-key may be wrong, or a limit reached")

// delivered gives one whole frame of the server to e.
func delivered(e *ear, frame []byte) {
	switch frame[0] {
	case wire.OpMessage:
		if d, err := wire.ParseDelivery(frame); err == nil {
			e.take(d.Data)
		}
	case wire.OpError:
		e.count.refused++
	}
}

// tcpConn is a client of basic frames over TCP.
type tcpConn struct {
	basicFrames
	nc  *net.TCPConn
	in  inbox
	out []byte
}

func (s *server) dialTCP() (conn, error) {
	nc, err := dialStream(s.opts.TCPAddr)
	if err != nil {
		return nil, err
	}
	c := &tcpConn{basicFrames: basicFrames{server: s}, nc: nc, in: newInbox(wire.DeliveryHeader + s.opts.Size)}
	if err := patiently(nc, func() error { return c.begin(c.ask) }); err != nil {
		_ = nc.Close()
		return nil, err
	}
	return c, nil
}

// ask sends a request and returns the value in the A that answers it. It skips messages:
// they belong to another run.
func (c *tcpConn) ask(r wire.Request) (uint32, error) {
	b, err := wire.AppendRequest(nil, r)
	if err != nil {
		return 0, err
	}
	if _, err := c.nc.Write(b); err != nil {
		return 0, err
	}
	for {
		for {
			frame, err := c.next()
			if err != nil {
				return 0, err
			}
			if frame == nil {
				break
			}
			switch frame[0] {
			case wire.OpAnswer:
				return wire.ParseAnswer(frame)
			case wire.OpError:
				return 0, errRefused
			}
		}
		if err := c.in.read(c.nc); err != nil {
			return 0, err
		}
	}
}

// next takes the next whole frame from the bytes that were read, or returns nil.
func (c *tcpConn) next() ([]byte, error) {
	b := c.in.rest()
	n, err := wire.ReplyLength(b, false)
	if err != nil || n == 0 || n > len(b) {
		return nil, err
	}
	c.in.begin += n
	return b[:n], nil
}

func (c *tcpConn) join(channels []uint32) error {
	return patiently(c.nc, func() error { return c.joinBy(c.ask, channels) })
}

func (c *tcpConn) listen(e *ear) error {
	for {
		e.begin()
		for {
			frame, err := c.next()
			if err != nil {
				return err
			}
			if frame == nil {
				break
			}
			delivered(e, frame)
		}
		e.end()
		if err := c.in.read(c.nc); err != nil {
			return ended(err)
		}
	}
}

func (c *tcpConn) add(channel uint32, payload []byte) (err error) {
	c.out, err = c.message(c.out, channel, payload)
	return err
}

func (c *tcpConn) flush() error {
	_, err := c.nc.Write(c.out)
	c.out = c.out[:0]
	return err
}

func (c *tcpConn) keep() error { return nil }
func (c *tcpConn) close()      { _ = c.nc.Close() }
