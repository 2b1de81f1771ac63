package http

import (
	"cmp"
	"errors"
	"io"
	"net"
	nethttp "net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"

	"watchtower/bridge"
	"watchtower/bridge/outbound"
)

// mqttProtocols are the sub-protocols of MQTT over WebSocket: that of 3.1.1 and 5 (MQTT 5,
// section 6), and that of MQTT 3.1 clients.
var mqttProtocols = []string{"mqtt", "mqttv3.1"}

func offersMQTT(r *nethttp.Request) bool {
	return websocket.IsWebSocketUpgrade(r) && slices.ContainsFunc(websocket.Subprotocols(r), func(offered string) bool {
		return slices.Contains(mqttProtocols, offered)
	})
}

// joinMQTT answers GET /mqtt, and GET /, the default path of some clients (HiveMQ's, Home
// Assistant). After the upgrade the broker serves the connection.
func (s *Server) joinMQTT(w nethttp.ResponseWriter, r *nethttp.Request) error {
	switch {
	case s.opts.ServeMQTT == nil:
		return fault(notFound, "path", "MQTT is off (mqtt.listen)")
	case !websocket.IsWebSocketUpgrade(r):
		return fault(bridge.InvalidField, "Upgrade", "this path speaks MQTT over WebSocket: connect to it with ws:// or wss://")
	case !offersMQTT(r):
		return fault(bridge.InvalidField, "Sec-WebSocket-Protocol", "must offer %s", mqttProtocols[0])
	}
	if err := s.count(r); err != nil {
		return err
	}
	s.sockets.Add(1) // before the upgrade: Serve waits for net/http or for this
	defer s.sockets.Done()
	conn, p, err := s.upgrade(w, r, websocket.Upgrader{Subprotocols: mqttProtocols})
	if conn == nil {
		return err
	}
	c := &socket{
		Conn: conn, peer: p, remote: s.proxies.remote(r), visitor: visitorOfRequest(r),
		forwarded: s.proxies.passedUnknownProxy(r), every: s.opts.Heartbeat, patience: s.opts.WriteTimeout,
	}
	c.begin()
	s.opts.ServeMQTT(c)
	c.end()
	return nil
}

// socket makes a byte stream of a WebSocket's binary messages, whose borders mean nothing
// (MQTT-6.0.0-2). Proxies cut a connection that is idle for a minute, and MQTT's keep-alive
// is often longer. So it sends a ping if nothing was written for the heartbeat.
type socket struct {
	*websocket.Conn
	peer      *peer
	forwarded bool
	remote    net.Addr
	visitor   *visitor     // nil: not a connection of a listener
	message   io.Reader    // rest of the current message; nil: none
	why       atomic.Int32 // close code for its end; 0: normal
	wrote     atomic.Int64 // time of the last write, in Unix nanoseconds

	every, patience time.Duration

	mu    sync.Mutex // guards the fields below; held while a ping is written
	beat  *time.Timer
	ended bool
}

// begin starts the pings.
func (c *socket) begin() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wrote.Store(time.Now().UnixNano())
	c.beat = time.AfterFunc(c.every, c.ping)
}

// ping sends a ping if nothing else was written for the heartbeat.
func (c *socket) ping() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return
	}
	now := time.Now()
	silent := now.Sub(time.Unix(0, c.wrote.Load()))
	if silent >= c.every {
		if c.WriteControl(websocket.PingMessage, nil, now.Add(c.patience)) != nil {
			c.peer.finish() // the client does not read, or has gone: ends the reader
			return
		}
		silent = 0
	}
	c.beat.Reset(c.every - silent)
}

// end closes the connection after the broker has ended.
func (c *socket) end() {
	_ = c.Close() // also ends a ping that is being written
	c.mu.Lock()
	c.ended = true
	c.beat.Stop()
	c.mu.Unlock()
	outbound.Drain(c.peer.Conn)
	_ = c.peer.Close()
}

var errText = errors.New("a text message, where MQTT is binary")

func (c *socket) Read(p []byte) (int, error) {
	for {
		if c.message == nil {
			kind, r, err := c.NextReader()
			var closed *websocket.CloseError
			switch {
			case errors.As(err, &closed):
				return 0, io.EOF
			case errors.Is(err, websocket.ErrReadLimit): // an impossible length
				c.why.Store(websocket.CloseMessageTooBig)
				return 0, err
			case err != nil:
				return 0, err
			case kind != websocket.BinaryMessage:
				c.why.Store(websocket.CloseUnsupportedData)
				return 0, errText // MQTT-6.0.0-1
			}
			c.message = r
		}
		n, err := c.message.Read(p)
		if err == io.EOF {
			c.message, err = nil, nil
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}

func (c *socket) Write(p []byte) (int, error) {
	if err := c.WriteMessage(websocket.BinaryMessage, p); err != nil {
		return 0, err
	}
	c.wrote.Store(time.Now().UnixNano())
	return len(p), nil
}

func (c *socket) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// Know notes that the broker has identified the client.
func (c *socket) Know() {
	if c.visitor != nil {
		c.visitor.guest.Know()
	}
}

// RemoteAddr returns the client's address, from a trusted proxy's header if there is one.
func (c *socket) RemoteAddr() net.Addr { return c.remote }

// Forwarded reports whether the client came through an untrusted proxy.
func (c *socket) Forwarded() bool { return c.forwarded }

// Close sends a Close frame, if the client takes it at once, and ends reading and writing.
// end closes the connection itself.
func (c *socket) Close() error {
	goodbye := websocket.FormatCloseMessage(cmp.Or(int(c.why.Load()), websocket.CloseNormalClosure), "")
	_ = c.WriteControl(websocket.CloseMessage, goodbye, time.Now().Add(closePatience))
	c.peer.finish()
	return nil
}
