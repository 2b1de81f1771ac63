// Package jsonline encodes a message as one line of JSON. Streams, mailboxes and callbacks
// carry such lines (docs/http.md, "Messages").
package jsonline

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"strconv"
	"strings"
	"unicode/utf8"

	"watchtower/bridge"
)

// timeFormat is RFC 3339 with milliseconds, of a time in UTC.
const timeFormat = "2006-01-02T15:04:05.000Z"

// Append appends a message, without a newline.
func Append(b []byte, m *bridge.Message) []byte {
	if m.Type == bridge.Notice {
		return append(b, m.Data...)
	}
	b = append(b, `{"id":"`...)
	at := len(b)
	b = append(b, make([]byte, 26)...)
	_ = m.ID.MarshalTextTo(b[at:]) // fails only where there is no room for 26 bytes
	b = append(b, `","time":"`...)
	b = m.Time.UTC().AppendFormat(b, timeFormat)
	b = append(b, `","type":"`...)
	b = append(b, m.Type.String()...)
	b = append(b, `","channel":`...)
	b = strconv.AppendUint(b, uint64(m.Channel), 10)
	b = append(b, `,"sender":`...)
	b = strconv.AppendUint(b, uint64(m.Sender), 10)
	if m.Name != "" {
		b = append(b, `,"name":`...)
		b = appendString(b, strings.ToValidUTF8(m.Name, "\uFFFD"))
	}
	if m.ConfirmedBy != nil {
		b = append(b, `,"confirmed_by":[`...)
		b = append(append(b, bridge.JoinIDs(m.ConfirmedBy)...), ']')
	}
	b = append(b, `,"message":`...)
	return append(appendPayload(b, m.Hint, m.Data), '}')
}

// appendPayload appends JSON in compact form, other text as a string, and bytes that are
// not UTF-8 as base64 with an encoding field. Without a hint an object or an array is JSON:
// who cannot say so, as a client of MQTT 3.1.1, means it.
func appendPayload(b []byte, hint bridge.Hint, data []byte) []byte {
	if !utf8.Valid(data) {
		b = append(b, '"')
		b = base64.StdEncoding.AppendEncode(b, data)
		return append(b, `","encoding":"base64"`...)
	}
	if hint == bridge.JSON || hint == bridge.Opaque && looksLikeJSON(data) {
		buf := bytes.NewBuffer(b)
		if json.Compact(buf, data) == nil {
			return buf.Bytes()
		}
	}
	return appendString(b, data)
}

// looksLikeJSON reports whether data begins as a JSON object or array does (RFC 8259, 2).
func looksLikeJSON(data []byte) bool {
	data = bytes.TrimLeft(data, " \t\r\n")
	return len(data) > 0 && (data[0] == '{' || data[0] == '[')
}

const hex = "0123456789abcdef"

// appendString appends valid UTF-8 as a JSON string. It escapes only what JSON
// demands: clients want to read & < > as they are.
func appendString[S string | []byte](b []byte, s S) []byte {
	b = append(b, '"')
	start := 0 // of the part that is not appended yet
	for i := range len(s) {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		b = append(b, s[start:i]...)
		start = i + 1
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\n':
			b = append(b, '\\', 'n')
		case '\r':
			b = append(b, '\\', 'r')
		case '\t':
			b = append(b, '\\', 't')
		default:
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
	}
	b = append(b, s[start:]...)
	return append(b, '"')
}

// Size is the capacity in bytes with which a message's line begins: enough for a payload
// that needs little escaping.
func Size(m *bridge.Message) int { return 192 + len(m.Name) + len(m.Data)*9/8 }

// Encode encodes a message with its newline.
func Encode(m *bridge.Message) []byte {
	b := make([]byte, 0, Size(m))
	return append(Append(b, m), '\n')
}

// AppendGap appends the record that says that messages on a channel are missing.
func AppendGap(b []byte, c bridge.Channel) []byte {
	return append(strconv.AppendUint(append(b, `{"type":"gap","channel":`...), uint64(c), 10), '}')
}
