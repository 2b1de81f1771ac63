package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// messageLine returns a line of a stream as text for people:
//
//	15:04:05 #5 kitchen (72): text
//
// A message that was larger than a device takes says so: kitchen (72), cut short: text.
// A line that is no message stays as it is, with its control characters escaped.
func messageLine(m message, zone *time.Location) string {
	if m.Content == nil {
		return printableText(string(m.line))
	}
	sender := strconv.FormatUint(uint64(m.Sender), 10)
	if m.Name != "" {
		sender = printableText(m.Name) + " (" + sender + ")"
	}
	if m.Type == "send" {
		sender += " to you"
	}
	if m.Cut {
		sender += ", cut short"
	}
	return fmt.Sprintf("%s #%d %s: %s", m.Time.In(zone).Format(time.TimeOnly), m.Channel, sender, m.text())
}

// text returns a message's content for people: text as text, encoded bytes with their
// encoding before them, anything else as JSON.
func (m message) text() string {
	var text string
	if m.Encoding != "" && json.Unmarshal(m.Content, &text) == nil {
		return "[" + printableText(m.Encoding) + "] " + printableText(text)
	}
	return printableText(string(m.payload()))
}

// printableText escapes all characters that a terminal could execute: a message must not
// move the cursor, nor look like the line of another message.
func printableText(s string) string {
	var b strings.Builder
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, s[0])
		case unicode.IsPrint(r):
			b.WriteRune(r)
		default:
			quoted := strconv.QuoteRune(r)
			b.WriteString(quoted[1 : len(quoted)-1])
		}
		s = s[n:]
	}
	return b.String()
}

// printJSON prints an answer of the gateway unchanged, and ends the line.
func (c *client) printJSON(answer []byte) error {
	_, err := fmt.Fprintf(c.out, "%s\n", bytes.TrimSpace(answer))
	return err
}
