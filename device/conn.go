package device

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"time"

	"watchtower/wire/frame"
)

// conn moves frames.
type conn struct {
	net.Conn
	in *bufio.Reader // of a stream; nil: datagrams
}

func (c *Client) dial(ctx context.Context) (*conn, error) {
	nc, err := c.opts.Dial(ctx, c.network, c.address)
	if err != nil {
		return nil, err
	}
	conn := &conn{Conn: nc}
	if !c.datagrams() {
		conn.in = bufio.NewReader(nc)
	}
	return conn, nil
}

// stream reports whether the connection is a stream, which loses nothing.
func (c *conn) stream() bool { return c.in != nil }

// read returns the next frame. It is good until the next read into buf.
func (c *conn) read(buf []byte) ([]byte, error) {
	if c.in == nil {
		for {
			n, err := c.Read(buf)
			if err == nil {
				return buf[:n], nil
			}
			if errors.Is(err, net.ErrClosed) {
				return nil, err
			}
			time.Sleep(10 * time.Millisecond) // nobody listens there, for now
		}
	}
	if _, err := io.ReadFull(c.in, buf[:4]); err != nil {
		return nil, err
	}
	n := frame.Overhead + int(binary.LittleEndian.Uint16(buf[2:]))
	_, err := io.ReadFull(c.in, buf[4:n])
	return buf[:n], err
}
