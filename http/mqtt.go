package http

import (
	"errors"
	"io"
	"net"
	nethttp "net/http"
	"slices"
	"time"

	"github.com/gorilla/websocket"
)

// mqttProtocols are the sub-protocols of MQTT over WebSocket: of 3.1.1 and 5 (MQTT 5,
// section 6), and what clients of MQTT 3.1 offer.
var mqttProtocols = []string{"mqtt", "mqttv3.1"}

func offersMQTT(r *nethttp.Request) bool {
	return websocket.IsWebSocketUpgrade(r) && slices.ContainsFunc(websocket.Subprotocols(r), func(offered string) bool {
		return slices.Contains(mqttProtocols, offered)
	})
}

// closePatience bounds the goodbye of a WebSocket to a client that takes nothing.
const closePatience = 100 * time.Millisecond

// joinMQTT answers GET /mqtt, and GET / where some clients connect unless told
// otherwise (HiveMQ's, Home Assistant): from the upgrade on, the broker serves the
// connection.
func (s *Server) joinMQTT(w nethttp.ResponseWriter, r *nethttp.Request) error {
	switch {
	case s.opts.ServeMQTT == nil:
		return fault(notFound, "path", "MQTT is off")
	case !websocket.IsWebSocketUpgrade(r):
		return fault(invalidField, "Upgrade", "this path speaks MQTT over WebSocket: connect to it with ws:// or wss://")
	case !offersMQTT(r):
		return fault(invalidField, "Sec-WebSocket-Protocol", "must offer %s", mqttProtocols[0])
	}
	if err := s.count(r); err != nil {
		return err
	}
	conn, err := s.upgrade(w, r, websocket.Upgrader{Subprotocols: mqttProtocols})
	if conn == nil {
		return err
	}
	s.opts.ServeMQTT(&socket{Conn: conn, remote: &net.TCPAddr{IP: s.client(r).AsSlice()}, visitor: visitorOfRequest(r), forwarded: s.passedUnknownProxy(r)})
	return nil
}

// socket makes a stream of a WebSocket's binary messages, whose borders mean
// nothing (MQTT-6.0.0-2).
type socket struct {
	*websocket.Conn
	forwarded bool
	remote    net.Addr
	visitor   *visitor  // nil: the connection is none of a listener's
	message   io.Reader // what is left of one; nil: none
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
			case err != nil:
				return 0, err
			case kind != websocket.BinaryMessage:
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
	return len(p), nil
}

func (c *socket) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// Know says that the broker knows who it is.
func (c *socket) Know() {
	if c.visitor != nil {
		c.visitor.guest.Know()
	}
}

// RemoteAddr is the client's address, as its proxy has it where that is trusted.
func (c *socket) RemoteAddr() net.Addr { return c.remote }

// Forwarded reports whether it came by a proxy that is not trusted.
func (c *socket) Forwarded() bool { return c.forwarded }

// Close says goodbye, if the client takes it at once.
func (c *socket) Close() error {
	goodbye := websocket.FormatCloseMessage(websocket.CloseNormalClosure, "")
	_ = c.WriteControl(websocket.CloseMessage, goodbye, time.Now().Add(closePatience))
	return c.Conn.Close()
}
