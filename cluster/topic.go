package cluster

import (
	"bytes"
	"encoding/binary"
	"time"

	"watchtower/bridge"
)

// A message on a topic of clients' own as an entry:
//
//	flags u8 | topic long | stamp u64 | milliseconds left to live uvarint | more | data
//
//	more: what u8 (1: properties, 2: picks) | properties | picks (group.go)
//
//	properties: format u8 | content type, response topic, correlation long | user: count uvarint, key and value long | …
//
// A long text has its length before it, as a uvarint. The lowest two bits of the flags are the
// QoS. The stamp, the life and more are there if their flag is.
const (
	topicQoS     = 3
	topicRetain  = 1 << 2
	topicExpires = 1 << 3
	topicMore    = 1 << 4
	topicStamped = 1 << 5
	topicOwn     = 1 << 6
	topicMapped  = 1 << 7
)

const (
	moreProperties = 1 << 0
	morePicks      = 1 << 1
)

// formatNone is the format of a message that has none.
const formatNone = 0xff

func topicFlags(m *bridge.TopicMessage) byte {
	flags := m.QoS & topicQoS
	if m.Retain {
		flags |= topicRetain
	}
	if !m.Expires.IsZero() {
		flags |= topicExpires
	}
	if topicMoreOf(m) != 0 {
		flags |= topicMore
	}
	if m.Stamp != 0 {
		flags |= topicStamped
	}
	if m.Own {
		flags |= topicOwn
	}
	if m.Mapped {
		flags |= topicMapped
	}
	return flags
}

func topicMoreOf(m *bridge.TopicMessage) (what byte) {
	if m.More != nil {
		what |= moreProperties
	}
	if len(m.Groups) > 0 {
		what |= morePicks
	}
	return what
}

// topicLifeLeft is how long a message lives, in milliseconds.
func topicLifeLeft(m *bridge.TopicMessage, now time.Time) uint64 {
	if m.Expires.IsZero() {
		return 0
	}
	return uint64(max(0, m.Expires.Sub(now).Milliseconds()))
}

// topicBytes is the length of a message's body.
func topicBytes(m *bridge.TopicMessage, left uint64) int {
	n := 1 + longBytes(len(m.Topic)) + len(m.Payload)
	if m.Stamp != 0 {
		n += 8
	}
	if !m.Expires.IsZero() {
		n += uvarintBytes(left)
	}
	if topicMoreOf(m) != 0 {
		n++
	}
	if len(m.Groups) > 0 {
		n += picksBytes(m.Groups)
	}
	if p := m.More; p != nil {
		n += 1 + longBytes(len(p.ContentType)) + longBytes(len(p.ResponseTopic)) + longBytes(len(p.Correlation)) + uvarintBytes(uint64(len(p.User)))
		for _, u := range p.User {
			n += longBytes(len(u[0])) + longBytes(len(u[1]))
		}
	}
	return n
}

func appendTopic(b []byte, m *bridge.TopicMessage, left uint64) []byte {
	b = append(b, byte(kindTopic))
	b = binary.AppendUvarint(b, uint64(topicBytes(m, left)))
	return appendTopicBody(b, m, left)
}

func appendTopicBody(b []byte, m *bridge.TopicMessage, left uint64) []byte {
	b = append(b, topicFlags(m))
	b = appendLong(b, m.Topic)
	if m.Stamp != 0 {
		b = binary.BigEndian.AppendUint64(b, uint64(m.Stamp))
	}
	if !m.Expires.IsZero() {
		b = binary.AppendUvarint(b, left)
	}
	what := topicMoreOf(m)
	if what != 0 {
		b = append(b, what)
	}
	if p := m.More; p != nil {
		format := byte(formatNone)
		if p.FormatGiven {
			format = p.Format
		}
		b = appendLong(append(b, format), p.ContentType)
		b = appendLong(b, p.ResponseTopic)
		b = appendLong(b, p.Correlation)
		b = binary.AppendUvarint(b, uint64(len(p.User)))
		for _, u := range p.User {
			b = appendLong(appendLong(b, u[0]), u[1])
		}
	}
	if what&morePicks != 0 {
		b = appendPicks(b, m.Groups)
	}
	return append(b, m.Payload...)
}

// readTopic makes a message of a body, which it does not keep. It returns nil if the body is
// none.
func readTopic(body []byte, names spelled, now time.Time) *bridge.TopicMessage {
	c := cursor{b: body}
	flags := c.byte()
	m := &bridge.TopicMessage{
		QoS: flags & topicQoS, Retain: flags&topicRetain != 0, Own: flags&topicOwn != 0, Mapped: flags&topicMapped != 0,
	}
	if topic := c.long(); len(topic) <= spelledBytes {
		m.Topic = names.text(topic)
	} else {
		m.Topic = string(topic)
	}
	if flags&topicStamped != 0 {
		m.Stamp = bridge.Stamp(c.uint64())
	}
	if flags&topicExpires != 0 {
		m.Expires = now.Add(time.Duration(min(c.uvarint(), 1<<40)) * time.Millisecond)
	}
	if flags&topicMore != 0 {
		what := c.byte()
		if what&moreProperties != 0 {
			m.More = readProperties(&c)
		}
		if what&morePicks != 0 {
			m.Groups = readPicks(&c)
		}
	}
	if c.bad || m.Topic == "" || m.QoS > 2 {
		return nil
	}
	m.Payload = bytes.Clone(c.b)
	return m
}

// spelledBytes is the longest topic that is kept in spelled.
const spelledBytes = 256

func readProperties(c *cursor) *bridge.TopicProperties {
	p := &bridge.TopicProperties{}
	if p.Format = c.byte(); p.Format == formatNone {
		p.Format = 0
	} else {
		p.FormatGiven = true
	}
	p.ContentType, p.ResponseTopic = string(c.long()), string(c.long())
	if data := c.long(); len(data) > 0 {
		p.Correlation = bytes.Clone(data)
	}
	for n := c.number(); n > 0 && !c.bad; n-- {
		p.User = append(p.User, [2]string{string(c.long()), string(c.long())})
	}
	return p
}

// EncodeTopic makes bytes of a message, and DecodeTopic a message of these. Both are given the time
// to which its life counts.
func EncodeTopic(m *bridge.TopicMessage, now time.Time) []byte {
	left := topicLifeLeft(m, now)
	b := make([]byte, 1, 1+topicBytes(m, left))
	b[0] = version
	return appendTopicBody(b, m, left)
}

// DecodeTopic returns nil if b is no message, or one of a newer version.
func DecodeTopic(b []byte, now time.Time) *bridge.TopicMessage {
	if len(b) == 0 || b[0] != version {
		return nil
	}
	return readTopic(b[1:], spelled{}, now)
}
