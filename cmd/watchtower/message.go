package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"time"
)

// message is a line of a stream: a message, or another event such as a gap.
type message struct {
	ID       string          `json:"id"` // empty over UDP
	Time     time.Time       `json:"time"`
	Type     string          `json:"type"`
	Channel  uint32          `json:"channel"`
	Sender   uint32          `json:"sender"`
	Name     string          `json:"name"`    // the sender's; empty: it has none, or it is not known
	Content  json.RawMessage `json:"message"` // nil: this is no message
	Encoding string          `json:"encoding"`
	Cut      bool            `json:"truncated"`
	Detail   string          `json:"detail"` // of an end, as its reason
	Reason   string          `json:"reason"`

	line []byte // as it came
}

func parseMessage(line []byte) (m message) {
	if json.Unmarshal(line, &m) != nil {
		m = message{}
	}
	m.line = bytes.Clone(line)
	return m
}

// payload returns the bytes that were said. JSON is as the gateway writes it: compact.
func (m message) payload() []byte {
	var text string
	if len(m.Content) == 0 || m.Content[0] != '"' || json.Unmarshal(m.Content, &text) != nil {
		var compact bytes.Buffer
		if json.Compact(&compact, m.Content) == nil {
			return compact.Bytes()
		}
		return m.Content
	}
	if m.Encoding == "base64" {
		if b, err := base64.StdEncoding.DecodeString(text); err == nil {
			return b
		}
	}
	return []byte(text)
}

// from is the sender as people read it: its name, or else its id.
func (m message) from() string {
	if m.Name != "" {
		return printableText(m.Name)
	}
	return idList([]uint32{m.Sender})
}
