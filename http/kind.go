package http

import (
	nethttp "net/http"
	"strconv"
	"strings"
	"time"

	"github.com/gorilla/websocket"

	"watchtower/bridge"
	"watchtower/bridge/jsonline"
)

// kind is a format of a stream. A message is encoded once for each kind that has a member.
type kind int

const (
	lines       kind = iota // a JSON message per line, each in its own chunk
	events                  // server-sent events, each in its own chunk
	frames                  // a JSON message per text frame of a WebSocket
	plainLines              // for HTTP/1.0, which has no chunks
	plainEvents             // for HTTP/1.0
	numKinds
)

// The media types of streams. HTML, section 9.2 defines that of events.
const (
	typeLines  = "application/x-ndjson"
	typeEvents = "text/event-stream"
)

// kindOf chooses by Upgrade, Accept and the HTTP version: the first of lines and events that
// Accept names, lines if it names neither.
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

func (k kind) chunked() bool  { return k == lines || k == events }
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

// chunk makes a chunk (RFC 9112, section 7.1) of a text, if the kind has chunks.
func (k kind) chunk(text []byte) []byte {
	if !k.chunked() {
		return text
	}
	b := strconv.AppendUint(make([]byte, 0, len(text)+20), uint64(len(text)), 16)
	return append(append(append(b, "\r\n"...), text...), "\r\n"...)
}

// terminator returns the last bytes of a stream that ends normally.
func (k kind) terminator() []byte {
	if k.chunked() {
		return []byte("0\r\n\r\n")
	}
	return nil
}

// heartbeat returns the bytes that keep an idle stream alive.
func (k kind) heartbeat() []byte {
	switch {
	case k == frames:
		return appendFrame(nil, framePing, nil)
	case k.ofEvents():
		return k.chunk([]byte(":\n\n"))
	}
	return k.chunk([]byte("\n"))
}

// toldHeartbeat is a heartbeat that a page can read, since browsers keep pings to themselves. It
// says how many seconds of silence there are at most.
func (k kind) toldHeartbeat(every time.Duration) []byte {
	return k.mark([]byte(`{"type":"heartbeat","every":` + strconv.FormatFloat(every.Seconds(), 'f', -1, 64) + `}`))
}

func (k kind) encode(m *bridge.Message) []byte {
	switch {
	case m.Type == bridge.Notice:
		return k.mark(m.Data)
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

// gap encodes that messages of a channel are lost.
func (k kind) gap(c bridge.Channel) []byte { return k.mark(jsonline.AppendGap(nil, c)) }

// end encodes why the gateway ends the stream. A WebSocket has its close frame for that.
func (k kind) end(why farewell) []byte {
	b := append(append([]byte(`{"type":"end","reason":"`), why.reason()...), `","detail":"`...)
	return k.mark(append(append(b, why.detail()...), `"}`...))
}

// place tells an EventSource where its stream begins: an id without data. It sends the id
// when it reconnects, even if no message came meanwhile (HTML, 9.2.6). A comment comes
// first, as at the beginning of every stream.
func (k kind) place(id string) []byte { return k.chunk([]byte(":\n\nid: " + id + "\n\n")) }

// mark encodes JSON that is not a message: an event has no id then.
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
	outOf            // its sender left the last channel
	stopped          // the gateway stops
	tooSlow          // its queue was full
	expired          // the token that opened it has ended
)

// reason is a farewell for programs.
func (f farewell) reason() string {
	return [...]string{"", "left", "stopping", "too_slow", "expired"}[f]
}

// detail is a farewell for people.
func (f farewell) detail() string {
	return [...]string{
		"", "the sender left the channels", "the gateway is stopping",
		"more messages waited than http.stream_queue allows: come back with since",
		"the token has expired or was ended: POST /tokens gives another",
	}[f]
}
