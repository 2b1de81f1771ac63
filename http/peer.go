package http

import (
	"bufio"
	"net"
	nethttp "net/http"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"watchtower/bridge"
)

// closePatience is how long the Close frame of a WebSocket may take to be written.
const closePatience = 100 * time.Millisecond

// longAgo is a deadline that ends a read or a write at once.
var longAgo = time.Unix(1, 0)

// peer is the connection below a WebSocket.
type peer struct {
	net.Conn

	// mute: the WebSocket library's frames are not written, but kept in unwritten, since
	// the stream's writer writes all frames. These are its Close frames for protocol errors.
	mute      bool
	unwritten []byte

	mu   sync.Mutex
	over bool
}

func (p *peer) Read(b []byte) (int, error) {
	n, err := p.Conn.Read(b)
	if err != nil && p.isOver() {
		err = net.ErrClosed
	}
	return n, err
}

func (p *peer) Write(b []byte) (int, error) {
	if p.mute {
		p.unwritten = append([]byte(nil), b...)
		return len(b), nil
	}
	return p.Conn.Write(b)
}

func (p *peer) SetDeadline(t time.Time) error      { return p.unlessOver(t, p.Conn.SetDeadline) }
func (p *peer) SetReadDeadline(t time.Time) error  { return p.unlessOver(t, p.Conn.SetReadDeadline) }
func (p *peer) SetWriteDeadline(t time.Time) error { return p.unlessOver(t, p.Conn.SetWriteDeadline) }

func (p *peer) unlessOver(t time.Time, set func(time.Time) error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over {
		return net.ErrClosed
	}
	return set(t)
}

func (p *peer) isOver() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.over
}

// finish ends reading and writing for good, but leaves the connection open.
func (p *peer) finish() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.over = true
	_ = p.Conn.SetDeadline(longAgo) // fails only if closed
}

// NetConn returns the connection below.
func (p *peer) NetConn() net.Conn { return p.Conn }

// hijacker wraps a hijacked connection in a peer.
type hijacker struct {
	nethttp.ResponseWriter
	peer *peer
}

func (h hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffered, err := nethttp.NewResponseController(h.ResponseWriter).Hijack()
	h.peer.Conn = conn
	return h.peer, buffered, err
}

// socketBuffers are the sockets' write buffers: an idle socket holds none.
var socketBuffers sync.Pool

// upgrade makes a WebSocket of a request, whose origin keepOut has checked. If that fails
// it returns an error; or nil for all if the client has gone.
func (s *Server) upgrade(w nethttp.ResponseWriter, r *nethttp.Request, up websocket.Upgrader) (*websocket.Conn, *peer, error) {
	var refused error
	up.HandshakeTimeout = s.opts.WriteTimeout
	up.ReadBufferSize, up.WriteBufferSize, up.WriteBufferPool = 1024, 4096, &socketBuffers
	up.CheckOrigin = func(*nethttp.Request) bool { return true }
	up.Error = func(_ nethttp.ResponseWriter, _ *nethttp.Request, _ int, reason error) {
		refused = fault(bridge.InvalidField, "Upgrade", "%s", reason)
	}
	p := &peer{}
	conn, err := up.Upgrade(hijacker{w, p}, r, nil)
	if err != nil {
		return nil, nil, refused
	}
	return conn, p, nil
}
