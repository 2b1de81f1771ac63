package bench

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
)

// streamConn is a stream over HTTP, of lines or of server-sent events. It does not use
// net/http, which would cost more than the server's part of the work.
type streamConn struct {
	server   *server
	identity identity
	nc       *net.TCPConn
	in       inbox
	events   bool
	echo     bool

	chunk int    // bytes of the chunk at hand that are still to come, with the line end after it
	text  []byte // what the chunks held, from the beginning of a line on
}

func (s *server) dialStream(events bool) (conn, error) {
	id, err := s.register()
	if err != nil {
		return nil, err
	}
	return s.openStream(id, events, true)
}

func (s *server) openStream(id identity, events, echo bool) (*streamConn, error) {
	nc, err := dialStream(s.host)
	if err != nil {
		return nil, err
	}
	return &streamConn{server: s, identity: id, nc: nc, in: newInbox(2*s.opts.Size + 1024), events: events, echo: echo}, nil
}

// join opens the stream. The sender has joined when the first byte comes.
func (c *streamConn) join(channels []uint32) error {
	ids := make([]string, len(channels))
	for i, channel := range channels {
		ids[i] = strconv.FormatUint(uint64(channel), 10)
	}
	accept := "application/x-ndjson"
	if c.events {
		accept = "text/event-stream"
	}
	request := fmt.Sprintf("GET /channels/join?channels=%s&sender=%d&linger=false&echo=%t HTTP/1.1\r\nHost: %s\r\nAccept: %s\r\n\r\n",
		strings.Join(ids, ","), c.identity.ID, c.echo, c.server.host, accept)
	return patiently(c.nc, func() error {
		if _, err := c.nc.Write([]byte(request)); err != nil {
			return err
		}
		for {
			b := c.in.rest()
			if end := bytes.Index(b, headEnd); end >= 0 && len(b) > end+len(headEnd) {
				if !success(b) {
					return fmt.Errorf("joining: %s", b)
				}
				if !bytes.Contains(b[:end+2], chunkedBody) {
					return errHTTP
				}
				c.in.begin += end + len(headEnd)
				return nil
			}
			if err := c.in.read(c.nc); err != nil {
				return err
			}
		}
	})
}

func (c *streamConn) listen(e *ear) error {
	for {
		e.begin()
		if err := c.dechunk(); err != nil {
			return err
		}
		c.lines(e)
		e.end()
		if err := c.in.read(c.nc); err != nil {
			return ended(err)
		}
	}
}

// dechunk takes the text out of the chunks that were read (RFC 9112, section 7.1).
func (c *streamConn) dechunk() error {
	for {
		b := c.in.rest()
		if c.chunk > 2 {
			n := min(len(b), c.chunk-2)
			c.text = append(c.text, b[:n]...)
			c.in.begin += n
			c.chunk -= n
			b = b[n:]
		}
		if c.chunk > 2 || len(b) == 0 {
			return nil
		}
		if c.chunk > 0 { // the line end after a chunk
			n := min(len(b), c.chunk)
			c.in.begin += n
			c.chunk -= n
			continue
		}
		end := bytes.IndexByte(b, '\n')
		if end < 0 {
			return nil
		}
		n, ok := chunkSize(b[:end])
		if !ok {
			return errHTTP
		}
		if n == 0 {
			return errors.New("the server ended the stream")
		}
		c.in.begin += end + 1
		c.chunk = n + 2
	}
}

func chunkSize(line []byte) (n int, ok bool) {
	for _, d := range line {
		switch {
		case d >= '0' && d <= '9':
			n = n<<4 | int(d-'0')
		case d|0x20 >= 'a' && d|0x20 <= 'f':
			n = n<<4 | int(d|0x20-'a'+10)
		default:
			return n, ok && (d == '\r' || d == ';')
		}
		ok = true
	}
	return n, ok
}

var (
	messageKey = []byte(`"message":"`)
	dataField  = []byte("data:")
)

// lines takes every whole line of the text.
func (c *streamConn) lines(e *ear) {
	rest := c.text
	for {
		end := bytes.IndexByte(rest, '\n')
		if end < 0 {
			break
		}
		line := rest[:end]
		rest = rest[end+1:]
		if len(line) == 0 || c.events && !bytes.HasPrefix(line, dataField) {
			continue // a heartbeat; an id, a comment, the end of an event
		}
		if content, ok := messageIn(line, e.size); ok {
			e.take(content)
		} else {
			e.count.corrupt++
		}
	}
	c.text = c.text[:copy(c.text, rest)]
}

// messageIn finds a message of the given size in a line of JSON. Usually it is at the end.
func messageIn(line []byte, size int) ([]byte, bool) {
	end := len(line) - len(`"}`)
	if begin := end - size; begin >= len(messageKey) && bytes.Equal(line[begin-len(messageKey):begin], messageKey) {
		return line[begin:end], true
	}
	_, content, ok := bytes.Cut(line, messageKey)
	if end := bytes.IndexByte(content, '"'); ok && end >= 0 {
		return content[:end], true
	}
	return nil, false
}

func (c *streamConn) add(uint32, []byte) error { return errors.New("a stream does not publish") }
func (c *streamConn) flush() error             { return nil }
func (c *streamConn) number() uint32           { return c.identity.ID }
func (c *streamConn) keep() error              { return nil }
func (c *streamConn) close()                   { _ = c.nc.Close() }
