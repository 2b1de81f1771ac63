package bench

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"

	"watchtower/wire"
	"watchtower/wire/frame"
)

const (
	sessionKeepAlive = 3600 // seconds: no run has to say that it is still there
	joinedAtOnce     = 200  // channels of one j
	checkedTags      = 64   // of so many deliveries one tag is checked, to save the receivers' time
)

// sessionConn is a client of session frames over UDP. It asks for no
// acknowledgement: a lost delivery is lost.
type sessionConn struct {
	udpSocket
	server  *server
	key     frame.Key
	id, seq uint32
	scratch []byte
	taken   uint
}

func (s *server) dialSession() (conn, error) {
	size := frame.Overhead + frame.DeliveryFixed + s.opts.Size
	socket, err := dialUDP(s.opts.UDPAddr, size)
	if err != nil {
		return nil, err
	}
	c := &sessionConn{udpSocket: socket, server: s}
	if err := c.register(); err != nil {
		socket.close()
		return nil, fmt.Errorf("registering: %w", err)
	}
	return c, nil
}

func (c *sessionConn) register() error {
	r := frame.Registration{Version: frame.Version, Options: frame.NoEcho, KeepAlive: sessionKeepAlive, MaxDatagram: frame.MaxDatagram}
	if c.server.hears() {
		r.Options = 0
	}
	_, _ = rand.Read(r.CNonce[:]) // never fails: it ends the program instead
	key := c.server.key
	err := c.ask(frame.AppendRegister(nil, r, key), func(reply []byte) (bool, error) {
		f, err := frame.Parse(reply)
		if err != nil || f.Op != frame.Cookie || !key.Verify(reply) {
			return false, nil
		}
		cnonce, cookie, err := frame.ParseCookie(f.Body)
		r.Cookie = cookie
		return err == nil && cnonce == r.CNonce, nil
	})
	if err != nil {
		return err
	}
	return c.ask(frame.AppendRegister(nil, r, key), func(reply []byte) (bool, error) {
		f, err := frame.Parse(reply)
		if err == nil && f.Op == frame.Error {
			return false, fmt.Errorf("error %d", f.Code())
		}
		if err != nil || f.Op != frame.Answer {
			return false, nil
		}
		c.id, c.key = f.ID, key.SessionKey(r.Options, r.CNonce, r.Cookie, f.ID)
		return c.key.Verify(reply), nil
	})
}

// hears reports whether publishers are receivers too, and so get their own messages.
func (s *server) hears() bool { return s.opts.Publish.hears() && !s.opts.Send }

func (c *sessionConn) next() uint32 { c.seq++; return c.seq }

func (c *sessionConn) join(channels []uint32) error {
	for len(channels) > 0 {
		n := min(len(channels), joinedAtOnce)
		seq := c.next()
		request := frame.Append(nil, frame.Frame{Op: frame.Join, ID: c.id, Seq: seq, Body: wire.AppendIDs(nil, channels[:n]...)}, c.key)
		err := c.ask(request, func(reply []byte) (bool, error) {
			f, err := frame.Parse(reply)
			if err != nil || f.Seq != seq || f.Op != frame.Answer && f.Op != frame.Error {
				return false, nil
			}
			if f.Op == frame.Error {
				return false, fmt.Errorf("joining: error %d", f.Code())
			}
			return true, nil
		})
		if err != nil {
			return err
		}
		channels = channels[n:]
	}
	return nil
}

func (c *sessionConn) listen(e *ear) error {
	return c.each(e, func(b []byte) {
		if len(b) < frame.Overhead+frame.DeliveryFixed || frame.Op(b[0]) != frame.Delivery {
			if frame.Op(b[0]) == frame.Error {
				e.count.refused++
			}
			return
		}
		if c.taken%checkedTags == 0 && !c.key.Verify(b) || binary.LittleEndian.Uint32(b[4:]) != c.id {
			e.count.corrupt++
			return
		}
		c.taken++
		e.take(b[frame.HeaderSize+frame.DeliveryFixed : len(b)-frame.TagSize])
	})
}

func (c *sessionConn) add(channel uint32, payload []byte) error {
	op := frame.Broadcast
	if len(c.server.to) > 0 {
		op = frame.Send
	}
	b := append(frame.Begin(c.scratch[:0], op, 0, c.id, c.next()), 1)
	b = binary.LittleEndian.AppendUint32(b, channel)
	if op == frame.Send {
		b = wire.AppendIDs(append(b, byte(len(c.server.to))), c.server.to...)
	}
	c.scratch = frame.Seal(append(b, payload...), 0, c.key)
	return c.queue(c.scratch)
}

// close ends the session.
func (c *sessionConn) close() {
	_ = c.queue(frame.Append(nil, frame.Frame{Op: frame.Bye, ID: c.id, Seq: c.next(), Body: []byte{0, 0}}, c.key))
	_ = c.flush() // if it is lost, the session ends by itself
	c.udpSocket.close()
}

func (c *sessionConn) number() uint32 { return c.id }
func (c *sessionConn) keep() error    { return nil }
