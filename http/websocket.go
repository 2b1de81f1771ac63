package http

import (
	"encoding/json"
	"errors"
	"io"
	nethttp "net/http"
	"os"
	"strconv"
	"time"

	"github.com/gorilla/websocket"
	"github.com/oklog/ulid/v2"

	"watchtower/bridge"
	"watchtower/bridge/outbound"
	"watchtower/intake"
)

// runSocket makes a WebSocket of the request. It writes the stream there, and executes the
// client's broadcasts and sends, until the client goes or the stream is closed.
func (st *stream) runSocket(w nethttp.ResponseWriter, r *nethttp.Request) error {
	s := st.server
	s.sockets.Add(1) // before the upgrade: Serve waits for net/http or for this
	defer s.sockets.Done()
	conn, p, err := s.upgrade(w, r, websocket.Upgrader{Subprotocols: subprotocol(r)})
	if conn == nil {
		return err
	}
	p.mute = true // the stream's writer writes all frames
	s.streams.connect(st, p.Conn)
	conn.SetReadLimit(int64(s.largestBody()))
	_ = conn.SetReadDeadline(time.Time{})
	conn.SetPingHandler(func(data string) error { st.frame(framePong, []byte(data)); return nil })
	conn.SetCloseHandler(func(int, string) error { return nil })
	goodbye := make(chan []byte, 2) // the first Close frame is written
	read := make(chan struct{})
	go func() {
		defer close(read)
		goodbye <- st.listen(conn, p)
		st.discard() // the client has gone
		st.writer.Close()
	}()
	if err = st.catchUp(st.first); err == nil {
		err = st.writer.Run(p.Conn)
	}
	if err == nil {
		why, code := farewell(st.parting.Load()), websocket.CloseGoingAway
		switch why {
		case tooSlow:
			code = websocket.CloseTryAgainLater
		case expired:
			code = closeExpired
		}
		goodbye <- closeFrame(code, why.detail())
		_ = st.conn.SetWriteDeadline(time.Now().Add(closePatience))
		_, err = st.conn.Write(<-goodbye)
	}
	p.finish()
	<-read
	if err == nil {
		outbound.Drain(p.Conn)
	}
	_ = p.Close()
	return nil
}

// listen executes the client's messages until it goes. It returns the Close frame for the
// end.
func (st *stream) listen(conn *websocket.Conn, p *peer) []byte {
	loan := st.server.lend(st.sender)
	defer loan.Close()
	for {
		b, err := st.hear(conn, &loan)
		switch {
		case err == nil:
			st.said(b)
			loan.Close()
			continue
		case websocket.IsCloseError(err, websocket.CloseNormalClosure, websocket.CloseGoingAway, websocket.CloseNoStatusReceived):
			st.goodbye.Store(true)
		case errors.Is(err, websocket.ErrReadLimit):
			return closeFrame(websocket.CloseMessageTooBig, "")
		case errors.Is(err, intake.ErrFull):
			return closeFrame(websocket.CloseTryAgainLater, "too many messages are not complete ("+loan.Setting()+")")
		case errors.Is(err, os.ErrDeadlineExceeded):
			return closeFrame(websocket.ClosePolicyViolation, "the message took longer than http.read_timeout")
		case errors.Is(err, errBinary):
			return closeFrame(websocket.CloseUnsupportedData, "")
		case len(p.unwritten) > 0:
			return p.unwritten // a protocol error
		}
		return closeFrame(websocket.CloseNormalClosure, "")
	}
}

var errBinary = errors.New("a binary message, where the API has text")

// hear reads one message. The read timeout begins with its first frame.
func (st *stream) hear(conn *websocket.Conn, loan *intake.Loan) ([]byte, error) {
	kind, r, err := conn.NextReader()
	switch {
	case err != nil:
		return nil, err
	case kind != websocket.TextMessage:
		return nil, errBinary
	}
	_ = conn.SetReadDeadline(time.Now().Add(st.server.opts.ReadTimeout)) // fails only if closed
	b, err := intake.Read(r, nil, unsaidBytes, st.server.largestBody()+1, loan)
	switch {
	case err == nil:
		return nil, websocket.ErrReadLimit
	case !errors.Is(err, io.EOF):
		return nil, err
	}
	return b, conn.SetReadDeadline(time.Time{})
}

// said executes one broadcast or send. It answers a success only if the message has a ref, a
// failure always.
func (st *stream) said(b []byte) {
	body, err := parseObject(b)
	ref := json.RawMessage(body["ref"])
	var id ulid.ULID
	if err == nil {
		id, err = st.server.publishSaid(st, body)
	}
	var waiting *bridge.Unconfirmed
	var answer any
	switch {
	case errors.As(err, &waiting):
		answer = struct {
			Type   string          `json:"type"`
			Ref    json.RawMessage `json:"ref,omitempty"`
			Status int             `json:"status"`
			halfConfirmed
		}{"unconfirmed", ref, nethttp.StatusAccepted, confirmedOf(waiting)}
	case err != nil:
		shown := st.server.problem(err)
		st.server.refused.WithLabelValues(strconv.Itoa(shown.Status)).Inc()
		answer = struct {
			Type  string          `json:"type"`
			Ref   json.RawMessage `json:"ref,omitempty"`
			Error problem         `json:"error"`
		}{"error", ref, shown}
	case len(ref) > 0:
		answer = struct {
			Type string          `json:"type"`
			Ref  json.RawMessage `json:"ref"`
			ID   ulid.ULID       `json:"id"`
		}{"accepted", ref, id}
	default:
		return
	}
	text, err := json.Marshal(answer)
	if err != nil {
		st.server.log.WithError(err).Error("answer not encoded")
		return
	}
	st.frame(frameText, text)
}

// publishSaid publishes a client's message from a WebSocket.
func (s *Server) publishSaid(st *stream, body object) (ulid.ULID, error) {
	sender := st.sender
	if err := s.mayAsk(sender); err != nil {
		return ulid.ULID{}, err
	}
	if st.pass != nil && !st.pass.Speak {
		return ulid.ULID{}, noSpeech(hearing, "to speak")
	}
	if farewell(st.parting.Load()) == expired {
		return ulid.ULID{}, fault(bridge.PassExpired, "token", "%s", expired.detail())
	}
	what, _, err := body.text("type")
	p := bridge.Publication{Via: Protocol, Wait: true, Voice: st.voice}
	switch {
	case err != nil:
		return ulid.ULID{}, err
	case what == bridge.Send.String():
		p.Type = bridge.Send
	case what != bridge.Broadcast.String():
		return ulid.ULID{}, fault(bridge.InvalidField, "type", "%q is neither broadcast nor send", bridge.Shorten(what))
	}
	fields := []string{"type", "ref", "channels", "message", "ttl"}
	if p.Type == bridge.Send {
		fields = append(fields, "receivers")
	}
	if err := body.only(fields...); err != nil {
		return ulid.ULID{}, err
	}
	said, err := spokenIn(sender, body)
	if err != nil {
		return ulid.ULID{}, err
	}
	p.Content, p.TTL = said.content, said.ttl
	if err := s.targets(said, st.pass, &p); err != nil {
		return ulid.ULID{}, err
	}
	return s.say(sender, p)
}

// frame queues a frame that is not a message.
func (st *stream) frame(kind byte, payload []byte) {
	if st.enqueue(appendFrame(nil, kind, payload)) {
		st.writer.Wake()
	}
}
