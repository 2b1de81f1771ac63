package http

import (
	nethttp "net/http"
	"strconv"
	"strings"

	"github.com/gorilla/websocket"

	"watchtower/bridge"
)

// kind is a way to write messages on a stream. A message is encoded once for
// each kind that has a member.
type kind int

const (
	lines  kind = iota // a JSON message per line
	events             // server-sent events
	frames             // a JSON message per text frame of a WebSocket
	numKinds
)

// The media types of streams. That of events is in HTML, section 9.2.
const (
	typeLines  = "application/x-ndjson"
	typeEvents = "text/event-stream"
)

// kindOf chooses by Upgrade and Accept: lines, unless only events will do, or are
// named first.
func kindOf(r *nethttp.Request) kind {
	if websocket.IsWebSocketUpgrade(r) {
		return frames
	}
	for _, accept := range r.Header.Values("Accept") {
		for media := range strings.SplitSeq(accept, ",") {
			media, _, _ = strings.Cut(media, ";")
			switch strings.ToLower(strings.TrimSpace(media)) {
			case typeEvents:
				return events
			case typeLines, "application/*", "*/*":
				return lines
			}
		}
	}
	return lines
}

func (k kind) contentType() string { return [...]string{typeLines, typeEvents, ""}[k] }

func (k kind) String() string { return [...]string{"ndjson", "sse", "websocket"}[k] }

// heartbeat is what says that a stream is alive.
func (k kind) heartbeat() []byte {
	switch k {
	case events:
		return []byte(":\n\n")
	case frames:
		return appendFrame(nil, framePing, nil)
	}
	return []byte("\n")
}

// encode writes a message.
func (k kind) encode(m *bridge.Message) []byte {
	switch k {
	case lines:
		return line(m)
	case frames:
		text := appendMessage(make([]byte, 0, encodedSize(m)), m)
		return appendFrame(make([]byte, 0, len(text)+10), frameText, text)
	}
	b := make([]byte, 0, encodedSize(m)+48)
	b = append(b, "id: "...)
	b = append(b, m.ID.String()...)
	b = append(b, "\ndata: "...)
	return append(appendMessage(b, m), "\n\n"...)
}

// appendGap appends what gap writes, as JSON.
func appendGap(b []byte, c bridge.Channel) []byte {
	return append(strconv.AppendUint(append(b, `{"type":"gap","channel":`...), uint64(c), 10), '}')
}

// gap says that more was said on a channel than is known.
func (k kind) gap(c bridge.Channel) []byte {
	b := appendGap(nil, c)
	switch k {
	case lines:
		return append(b, '\n')
	case frames:
		return appendFrame(nil, frameText, b)
	}
	return append(append([]byte("data: "), b...), "\n\n"...)
}

// end says why the gateway ends a stream, where messages would come. A WebSocket
// has its close frame for that.
func (k kind) end(why farewell) []byte {
	b := append(append([]byte(`{"type":"end","reason":"`), why.reason()...), `","detail":"`...)
	b = append(append(b, why.detail()...), `"}`...)
	if k == events {
		return append(append([]byte("data: "), b...), "\n\n"...)
	}
	return append(b, '\n')
}
