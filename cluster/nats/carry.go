package nats

import (
	"bytes"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	client "github.com/nats-io/nats.go"

	"watchtower/bridge/outbound"
)

// The library wakes a goroutine for each message that it publishes, which costs several times what
// the message does. So frames are written to the library's own connection by whoever has put
// something into them, as to all other connections (package outbound), between what the library
// writes. That is so for plain TCP. On a connection of TLS or WebSocket, which the library has to itself,
// it publishes them.

const (
	dialPatience  = 2 * time.Second
	carryPatience = 3 * time.Second // a server that takes nothing for so long is left
	packedBytes   = 64 << 10        // of frames that are written at once
)

// link is a TCP connection to a server.
type link struct {
	net.Conn
	transport *Transport
	writer    *outbound.Writer
	open      atomic.Bool // the server takes frames
}

// Dial is client.CustomDialer's.
func (t *Transport) Dial(network, address string) (net.Conn, error) {
	conn, err := net.DialTimeout(network, address, dialPatience)
	if err != nil {
		return nil, err
	}
	l := &link{Conn: conn, transport: t}
	l.writer = outbound.NewWriter(l, outbound.Options{Timeout: carryPatience, Crew: t.crew, Ended: l.ended})
	l.writer.Start(conn)
	t.dialed.Store(l)
	return l, nil
}

// Write writes what the library says.
func (l *link) Write(b []byte) (int, error) {
	if err := l.writer.Put(b); err != nil {
		return 0, err
	}
	return len(b), nil
}

// SetDeadline is for reading: the writer has a timeout of its own.
func (l *link) SetDeadline(t time.Time) error { return l.SetReadDeadline(t) }

// SetWriteDeadline does nothing: the writer has a timeout of its own.
func (l *link) SetWriteDeadline(time.Time) error { return nil }

// ended closes the connection after a write that failed, which may have been half done.
func (l *link) ended(error) { l.Close() }

// Fill is outbound.Source's.
func (l *link) Fill(b []byte) []byte {
	if !l.open.Load() {
		return b
	}
	return l.transport.Fill(b)
}

// carry has frames written to the connection that the library has just made.
func (t *Transport) carry(c *client.Conn) {
	l := t.dialed.Load()
	if !c.IsConnected() { // it is lost again; or else the newest connection is this one
		return
	}
	t.most.Store(c.MaxPayload())
	w := l.writer
	if l.open.Store(isPlain(c)); !l.open.Load() {
		w = outbound.NewWriter(t, outbound.Options{Timeout: carryPatience, Crew: t.crew})
		w.Start(published{t})
	}
	t.carrier.Store(w)
	t.Wake(nil)
}

// end waits until a writer writes no more, to a connection that is closed. Nil: there is none.
func end(w *outbound.Writer) {
	if w != nil {
		w.Close()
		<-w.Done()
	}
}

// isPlain reports whether the library writes to the TCP connection as it is.
func isPlain(c *client.Conn) bool {
	_, err := c.TLSConnectionState()
	return err != nil && !strings.HasPrefix(c.ConnectedUrl(), "ws")
}

// Wake is cluster.Transport's.
func (t *Transport) Wake(r *outbound.Round) {
	switch w := t.carrier.Load(); {
	case w == nil: // what waits is sent when there is a connection
	case r != nil:
		r.Note(w)
	default:
		w.Wake()
	}
}

// Fill appends frames that wait, each as the message of NATS's protocol that publishes it.
func (t *Transport) Fill(b []byte) []byte {
	node := t.node.Load()
	for node != nil && len(b) < packedBytes {
		frame := node.Next()
		if frame == nil {
			break
		}
		b = t.pack(b, frame)
	}
	return b
}

const tooLarge = "a message was too large for the NATS servers, and did not reach the other gateways: raise their max_payload, or lower limits.message_bytes"

// pack appends a frame. One that no server takes is let go, and logged once.
func (t *Transport) pack(b, frame []byte) []byte {
	if int64(len(frame)) > t.most.Load() {
		t.logOnce("max_payload", tooLarge)
		return b
	}
	b = append(append(b, "PUB "...), t.subject...)
	b = strconv.AppendInt(append(b, ' '), int64(len(frame)), 10)
	return append(append(append(b, "\r\n"...), frame...), "\r\n"...)
}

// published is a connection to a server on which the library publishes what is written: whole
// messages as pack makes them.
type published struct{ transport *Transport }

func (p published) Write(b []byte) (n int, err error) {
	for n < len(b) && err == nil {
		head := bytes.IndexByte(b[n:], '\r')
		size, _ := strconv.Atoi(string(b[n+bytes.LastIndexByte(b[n:n+head], ' ')+1 : n+head])) // pack has written it
		begin := n + head + len("\r\n")
		n = begin + size + len("\r\n")
		err = p.transport.conn.Publish(p.transport.subject, b[begin:begin+size])
	}
	return n, err
}

func (published) SetWriteDeadline(time.Time) error { return nil } // Publish does not wait
