package irc

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/ergochat/irc-go/ircmsg"

	"watchtower/bridge"
)

const (
	// mostLines is into how many lines a message is split at most.
	mostLines = 200
	// timeFormat is that of the tag time, in UTC.
	timeFormat = "2006-01-02T15:04:05.000Z"
)

// appendMessage appends a message as lines for one target. With capTime and capTags in caps it
// has the time and its id, and it belongs to the batch if that is not empty.
func appendMessage(b []byte, m *bridge.Message, source, target string, caps uint32, batch string) []byte {
	head := ":" + source + " PRIVMSG " + target + " :"
	room := max(lineBytes-2-len(head), utf8.UTFMax)
	for i, line := range split(content(m, room), room) {
		b = appendTags(b, m, caps, batch, i == 0)
		b = append(append(append(b, head...), line...), '\r', '\n')
	}
	return b
}

// appendTags appends the tags of a line. Only the first line of a message has its id.
func appendTags(b []byte, m *bridge.Message, caps uint32, batch string, first bool) []byte {
	var tags []string
	if batch != "" {
		tags = append(tags, "batch="+batch)
	}
	if caps&capTime != 0 {
		tags = append(tags, "time="+m.Time.UTC().Format(timeFormat))
	}
	if caps&capTags != 0 && first {
		tags = append(tags, "msgid="+m.ID.String())
	}
	if len(tags) == 0 {
		return b
	}
	return append(append(append(b, '@'), strings.Join(tags, ";")...), ' ')
}

// content returns a message as text. JSON is compact, and what is no text is one line in
// hexadecimal digits that fits into room bytes; both say so.
func content(m *bridge.Message, room int) string {
	if !isText(m.Data) {
		return hexLine(m.Data, room)
	}
	if m.Hint == bridge.JSON || m.Hint == bridge.Opaque && looksLikeJSON(m.Data) {
		var b bytes.Buffer
		if json.Compact(&b, m.Data) == nil {
			if strings.ContainsRune(`{["`, rune(b.Bytes()[0])) {
				return "json: " + b.String()
			}
			return b.String() // a number, true, false, null
		}
	}
	return string(m.Data)
}

func looksLikeJSON(data []byte) bool {
	data = bytes.TrimLeft(data, " \t\r\n")
	return len(data) > 0 && (data[0] == '{' || data[0] == '[')
}

// isText reports whether data is UTF-8 without control characters, other than line ends, tabs
// and those with which clients of IRC format text. So no message can be CTCP.
func isText(data []byte) bool {
	if !utf8.Valid(data) {
		return false
	}
	for _, b := range data {
		if b < ' ' && !strings.ContainsRune("\t\r\n\x02\x03\x04\x0f\x11\x16\x1d\x1e\x1f", rune(b)) {
			return false
		}
	}
	return true
}

func hexLine(data []byte, room int) string {
	line := fmt.Sprintf("binary, %d bytes: ", len(data))
	most := max(room-len(line)-len("…"), 0) / 2
	if len(data) <= most {
		return line + fmt.Sprintf("%x", data)
	}
	return line + fmt.Sprintf("%x…", data[:most])
}

// split splits a text at its line ends, and where a line has more than room bytes. Empty lines
// are left out, but an empty text is one line: a space.
func split(text string, room int) (lines []string) {
	for line := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == '\n' || r == '\r' }) {
		for line != "" {
			if len(lines) == mostLines {
				return append(lines[:mostLines-1], "… and more, which is too long for IRC")
			}
			part := line
			if len(line) > room {
				part = ircmsg.TruncateUTF8Safe(line, room)
			}
			lines = append(lines, part)
			line = line[len(part):]
		}
	}
	if len(lines) == 0 {
		return []string{" "}
	}
	return lines
}
