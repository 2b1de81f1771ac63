package bench

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"watchtower/datagram"
	"watchtower/wire"
)

// receiveBuffer is the size of a UDP client's receive buffer in bytes. It is large, so that
// the client does not lose messages that come in a burst.
const receiveBuffer = 4 << 20

// tries is how often a request over UDP is sent before it fails.
const tries = 10

// udpSocket is the part that all UDP clients share.
type udpSocket struct {
	nc     *net.UDPConn
	socket *datagram.Socket
	in     *datagram.Reader
	out    *datagram.Writer // made at the first write, because receivers need none
	room   []byte           // what is in out
}

// How many channels are quit at once, and the pause after that.
const (
	quitGroup = 32
	quitPause = 2 * time.Millisecond
)

// inBatch is how many datagrams are read at once. Receivers are many, so it is small.
const inBatch = 16

// dialUDP opens a socket for datagrams of up to most bytes. Longer ones are cut, which the
// checks notice.
func dialUDP(address string, most int) (udpSocket, error) {
	addr, err := net.ResolveUDPAddr("udp", address)
	if err != nil {
		return udpSocket{}, err
	}
	nc, err := net.DialUDP("udp", nil, addr)
	if err != nil {
		return udpSocket{}, err
	}
	_ = nc.SetReadBuffer(receiveBuffer) // as far as the system allows; what gets lost is seen
	socket, err := datagram.Of(nc)
	if err != nil {
		_ = nc.Close()
		return udpSocket{}, err
	}
	return udpSocket{nc: nc, socket: socket, in: socket.Reader(inBatch, most+1)}, nil
}

// ask sends a request, again if need be, until a reply is an answer.
func (s *udpSocket) ask(request []byte, answer func(reply []byte) (bool, error)) error {
	defer func() { _ = s.nc.SetReadDeadline(time.Time{}) }()
	for range tries {
		// ECONNREFUSED is about an earlier datagram: nobody listened then.
		if _, err := s.nc.Write(request); err != nil && !errors.Is(err, syscall.ECONNREFUSED) {
			return err
		}
		if err := s.nc.SetReadDeadline(time.Now().Add(patience / tries)); err != nil {
			return err
		}
		for {
			n, err := s.read()
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if err != nil {
				return err
			}
			for i := range n {
				if done, err := answer(s.at(i)); done || err != nil {
					return err
				}
			}
		}
	}
	return fmt.Errorf("%s does not answer over UDP: %w", s.nc.RemoteAddr(), os.ErrDeadlineExceeded)
}

// each gives every datagram to a function until the socket is closed.
func (s *udpSocket) each(e *ear, give func([]byte)) error {
	for {
		n, err := s.read()
		if err != nil {
			return ended(err)
		}
		e.begin()
		for i := range n {
			if b := s.at(i); len(b) > 0 {
				give(b)
			}
		}
		e.end()
	}
}

// read waits for datagrams and returns how many came. It ignores ECONNREFUSED, which is
// about an earlier datagram that nobody received.
func (s *udpSocket) read() (n int, err error) {
	for {
		if n, err = s.in.Read(); !errors.Is(err, syscall.ECONNREFUSED) {
			return n, err
		}
	}
}

// at returns a datagram of the last read.
func (s *udpSocket) at(i int) []byte {
	b, _ := s.in.At(i)
	return b
}

// queue adds a copy of a datagram to those that flush writes.
func (s *udpSocket) queue(b []byte) error {
	if s.out == nil {
		s.out = s.socket.Writer(true)
	}
	begin := len(s.room)
	s.room = append(s.room, b...)
	if s.out.Add(s.room[begin:], netip.AddrPort{}) {
		return s.flush()
	}
	return nil
}

// flush writes the waiting datagrams. After an error they are forgotten.
func (s *udpSocket) flush() (err error) {
	if s.out == nil {
		return nil
	}
	for err == nil && s.out.Waiting() > 0 {
		_, err = s.out.Write(true)
	}
	s.out.Reset()
	s.room = s.room[:0]
	return err
}

func (s *udpSocket) close() { _ = s.nc.Close() }

// port returns the client's port.
func (s *udpSocket) port() int { return s.nc.LocalAddr().(*net.UDPAddr).Port }

// udpConn is a client of basic frames over UDP.
type udpConn struct {
	basicFrames
	udpSocket
	joined  []uint32
	scratch []byte
}

func (s *server) dialUDP() (conn, error) {
	socket, err := dialUDP(s.opts.UDPAddr, wire.DeliveryHeader+s.opts.Size)
	if err != nil {
		return nil, err
	}
	c := &udpConn{basicFrames: basicFrames{server: s}, udpSocket: socket}
	if err := c.begin(c.request); err != nil {
		socket.close()
		return nil, err
	}
	return c, nil
}

func (c *udpConn) request(r wire.Request) (got uint32, err error) {
	b, err := wire.AppendRequest(nil, r)
	if err != nil {
		return 0, err
	}
	err = c.ask(b, func(reply []byte) (bool, error) {
		if len(reply) == 1 && reply[0] == wire.OpError {
			return false, errRefused
		}
		var err error
		got, err = wire.ParseAnswer(reply)
		late := r.Op == wire.OpJoin && got != r.Channel // the answer to what was asked before, once more
		return err == nil && !late, nil
	})
	return got, err
}

func (c *udpConn) join(channels []uint32) error {
	c.joined = append(c.joined, channels...)
	return c.joinBy(c.request, channels)
}

// close quits the channels, because the server cannot notice that the client has gone. It
// sends the requests in small groups: nothing tells whether the server had room for them.
func (c *udpConn) close() {
	for i, channel := range c.joined {
		if i%quitGroup == quitGroup-1 && c.flush() == nil {
			time.Sleep(quitPause)
		}
		c.scratch, _ = wire.AppendRequest(c.scratch[:0], wire.Request{Op: wire.OpQuit, ID: c.id, Channel: channel})
		if c.queue(c.scratch) != nil {
			break // it is closed already
		}
	}
	_ = c.flush() // as far as it goes: in two minutes the server forgets
	c.udpSocket.close()
}

func (c *udpConn) listen(e *ear) error {
	return c.each(e, func(b []byte) {
		if b[0] != wire.OpMessage || len(b) >= wire.DeliveryHeader {
			delivered(e, b)
		}
	})
}

func (c *udpConn) add(channel uint32, payload []byte) (err error) {
	if c.scratch, err = c.message(c.scratch[:0], channel, payload); err != nil {
		return err
	}
	return c.queue(c.scratch)
}

func (c *udpConn) keep() error {
	b, err := wire.AppendRequest(nil, wire.Request{Op: wire.OpKeepAlive, ID: c.id})
	if err == nil {
		_, err = c.nc.Write(b)
	}
	return err
}
