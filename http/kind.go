package http

import (
	nethttp "net/http"
	"strconv"
	"strings"

	"github.com/gorilla/websocket"

	"watchtower/bridge"
	"watchtower/bridge/jsonline"
)

// kind is a way to write messages on a stream. A message is encoded once for
// each kind that has a member.
type kind int

const (
	lines       kind = iota // a JSON message per line, in a chunk of its own
	events                  // server-sent events, likewise
	frames                  // a JSON message per text frame of a WebSocket
	plainLines              // for HTTP/1.0, which has no chunks
	plainEvents             // for HTTP/1.0
	numKinds
)

// The media types of streams. That of events is in HTML, section 9.2.
const (
	typeLines  = "application/x-ndjson"
	typeEvents = "text/event-stream"
)

// kindOf chooses by Upgrade, Accept and the version of HTTP: lines, unless only
// events will do, or are named first.
func kindOf(r *nethttp.Request) kind {
	k := accepted(r)
	switch {
	case websocket.IsWebSocketUpgrade(r):
		return frames
	case r.ProtoAtLeast(1, 1):
		return k
	case k == lines:
		return plainLines
	}
	return plainEvents
}

func accepted(r *nethttp.Request) kind {
	for _, accept := range r.Header.Values("Accept") {
		for media := range strings.SplitSeq(accept, ",") {
			media, _, _ = strings.Cut(media, ";")
			switch strings.ToLower(strings.TrimSpace(media)) {
			case typeEvents, "text/*":
				return events
			case typeLines, "application/*", "*/*":
				return lines
			}
		}
	}
	return lines
}

func (k kind) chunked() bool { return k == lines || k == events }

func (k kind) ofEvents() bool { return k == events || k == plainEvents }

func (k kind) contentType() string {
	if k.ofEvents() {
		return typeEvents
	}
	return typeLines
}

func (k kind) String() string {
	return [...]string{"ndjson", "sse", "websocket", "ndjson", "sse"}[k]
}

// chunk makes what is written at once of a text: a chunk (RFC 9112, section 7.1)
// where the kind has them.
func (k kind) chunk(text []byte) []byte {
	if !k.chunked() {
		return text
	}
	b := strconv.AppendUint(make([]byte, 0, len(text)+20), uint64(len(text)), 16)
	return append(append(append(b, "\r\n"...), text...), "\r\n"...)
}

// terminator is what ends a stream in good order.
func (k kind) terminator() []byte {
	if k.chunked() {
		return []byte("0\r\n\r\n")
	}
	return nil
}

// heartbeat is what says that a stream is alive.
func (k kind) heartbeat() []byte {
	switch {
	case k == frames:
		return appendFrame(nil, framePing, nil)
	case k.ofEvents():
		return k.chunk([]byte(":\n\n"))
	}
	return k.chunk([]byte("\n"))
}

// encode writes a message.
func (k kind) encode(m *bridge.Message) []byte {
	switch {
	case k == frames:
		text := jsonline.Append(make([]byte, 0, jsonline.Size(m)), m)
		return appendFrame(make([]byte, 0, len(text)+10), frameText, text)
	case k.ofEvents():
		b := make([]byte, 0, jsonline.Size(m)+48)
		b = append(b, "id: "...)
		b = append(b, m.ID.String()...)
		b = append(b, "\ndata: "...)
		return k.chunk(append(jsonline.Append(b, m), "\n\n"...))
	}
	return k.chunk(jsonline.Encode(m))
}

// gap says that more was said on a channel than is known.
func (k kind) gap(c bridge.Channel) []byte { return k.mark(jsonline.AppendGap(nil, c)) }

// end says why the gateway ends the stream, where messages would come. A WebSocket
// has its close frame for that.
func (k kind) end(why farewell) []byte {
	b := append(append([]byte(`{"type":"end","reason":"`), why.reason()...), `","detail":"`...)
	return k.mark(append(append(b, why.detail()...), `"}`...))
}

// place tells an EventSource where its stream begins: an id without data, which it
// keeps and says when it comes back, also if no message came meanwhile (HTML, 9.2.6).
// A comment comes first, as at the beginning of every stream.
func (k kind) place(id string) []byte { return k.chunk([]byte(":\n\nid: " + id + "\n\n")) }

// mark writes JSON that is no message: an event without an id.
func (k kind) mark(text []byte) []byte {
	switch {
	case k == frames:
		return appendFrame(nil, frameText, text)
	case k.ofEvents():
		return k.chunk(append(append([]byte("data: "), text...), "\n\n"...))
	}
	return k.chunk(append(text, '\n'))
}

// farewell is why the gateway ends a stream.
type farewell int32

const (
	staying farewell = iota
	outOf            // it was made to leave its last channel
	stopped          // the gateway stops
	tooSlow          // its queue was full
	expired          // the token that opened it has ended
)

// reason is what the client is told of a farewell.
func (f farewell) reason() string {
	return [...]string{"", "left", "stopping", "too_slow", "expired"}[f]
}

// detail says it to a person.
func (f farewell) detail() string {
	return [...]string{
		"", "the sender left the channels", "the gateway is stopping",
		"more messages waited than http.stream_queue allows: come back with since",
		"the token has expired or was ended: POST /tokens gives another",
	}[f]
}
