package mqtt

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"watchtower/bridge"
)

// message is one publish on its way to many sessions, which share it and its
// encodings. Nobody changes it once it is delivered.
type message struct {
	// What is read for each receiver comes first, within 96 bytes.
	topic     string
	payload   []byte
	extras    *extras                     // of a publisher that speaks MQTT 5
	expires   int64                       // Unix milliseconds; 0: never
	encodings [4]atomic.Pointer[encoding] // by version, and QoS 0 or more
	many      bool                        // it goes to more than one: encodings are kept
	qos       byte
	retain    bool // as published
	own       bool // it is the gateway's

	origin  *session        // nil: the gateway
	channel *bridge.Message // nil: not on a channel
	saved   savedBody       // the keeper's
	state   atomic.Uint64   // see budget.go
	short   *message        // see inShort
}

// inShort is the message on the topic that one speaks on, which does not name the
// sender: for those who subscribed to that. The publisher's goroutine alone asks.
func (m *message) inShort() *message {
	if m.short == nil {
		m.short = &message{
			topic: bridge.ShortTopic(m.topic, m.channel.Type), payload: m.payload, extras: m.extras, expires: m.expires,
			many: m.many, qos: m.qos, origin: m.origin, channel: m.channel,
		}
	}
	return m.short
}

// anyQoS is the QoS of what the gateway publishes, its own or what came by another
// protocol: a delivery has the one that the client subscribed with.
const anyQoS = 2

// encoding is a PUBLISH as some version and QoS has it. What differs from
// receiver to receiver is overwritten in each copy.
type encoding struct {
	b        []byte
	idAt     int // packet identifier; 0: none
	expiryAt int // message expiry interval; 0: none
}

const version5 = 5

// weight is what a message takes of a queue's bytes.
func (m *message) weight() int { return len(m.topic) + len(m.payload) + m.extras.weight() }

// size is what its PUBLISH takes for a client of MQTT 3.1.1 at QoS 1.
func (m *message) size() int {
	n := m.plainLength(1)
	return 1 + len(binary.AppendUvarint(nil, uint64(n))) + n
}

func (m *message) expired(now time.Time) bool { return m.expires != 0 && now.UnixMilli() >= m.expires }

// seconds rounds milliseconds up to what MQTT says.
func seconds(ms int64) int64 { return (ms + 999) / 1000 }

// encode returns the message's encoding for a version and QoS, made once if it
// goes to many, unless it carries subscription identifiers.
func (m *message) encode(version, qos byte, subIDs *[]int, all *budget) (*encoding, error) {
	qos = min(qos, 1) // those of QoS 1 and 2 differ in the first byte alone
	i := int(qos)
	if version == version5 {
		i += 2
	}
	kept := m.many && subIDs == nil
	if kept {
		if e := m.encodings[i].Load(); e != nil {
			return e, nil
		}
	}
	e, err := m.build(version, qos, subIDs, addsAll)
	if err == nil && kept && m.encodings[i].CompareAndSwap(nil, e) {
		all.used.Add(m.grow(cap(e.b)))
	}
	return e, err
}

// gatewaysOwn reports whether a user property of a message on a channel is the gateway's.
func gatewaysOwn(key string) bool {
	switch key {
	case "sender", "sender-name", "channel", "type", "id":
		return true
	}
	return false
}

// fitting returns the encoding for a client, with what the gateway adds as far as
// it fits into what the client takes; false if even the message alone does not.
func (m *message) fitting(c *conn, d *delivery) (*encoding, bool) {
	e, err := m.encode(c.version, d.qos, d.subIDs, c.broker.budget)
	for adds := addsSender; err == nil && c.maxSize > 0 && uint32(len(e.b)) > c.maxSize; adds++ {
		if adds > addsNothing || !c.broker.tree.OnChannel(m.topic) {
			c.oversize = len(e.b)
			return nil, false
		}
		e, err = m.build(c.version, d.qos, d.subIDs, adds)
	}
	return e, err == nil
}

// build makes an encoding.
func (m *message) build(version, qos byte, subIDs *[]int, adds additions) (*encoding, error) {
	if version != version5 && len(m.topic) > 0 {
		return m.buildPlain(qos), nil
	}
	pk := packets.Packet{
		FixedHeader:     packets.FixedHeader{Type: packets.Publish, Qos: qos},
		ProtocolVersion: version,
		TopicName:       m.topic,
		Payload:         m.payload,
		PacketID:        1, // overwritten in each copy
		Mods:            packets.Mods{AllowResponseInfo: true},
	}
	if version == version5 {
		pk.Properties = m.properties(adds)
		if subIDs != nil {
			pk.Properties.SubscriptionIdentifier = *subIDs
		}
	}
	var buf bytes.Buffer
	if err := pk.PublishEncode(&buf); err != nil {
		return nil, err
	}
	e := &encoding{b: buf.Bytes()}
	at := 1 + varintLen(e.b[1:]) + 2 + len(m.topic)
	if qos > 0 {
		e.idAt = at
		at += 2
	}
	if version == version5 && pk.Properties.MessageExpiryInterval > 0 {
		at += varintLen(e.b[at:])
		if pk.Properties.PayloadFormatFlag {
			at += 2 // the codec writes the payload format first, the expiry next
		}
		e.expiryAt = at + 1
	}
	return e, nil
}

// buildPlain makes an encoding for a version without properties, in one piece of
// memory.
func (m *message) buildPlain(qos byte) *encoding {
	b, idAt := m.appendPlain(make([]byte, 0, m.plainLength(qos)+5), qos)
	return &encoding{b: b, idAt: idAt}
}

// plainLength is the remaining length of a PUBLISH without properties.
func (m *message) plainLength(qos byte) int {
	length := 2 + len(m.topic) + len(m.payload)
	if qos > 0 {
		length += 2
	}
	return length
}

// appendPlain appends a PUBLISH without properties (MQTT 3.1.1, section 3.3).
func (m *message) appendPlain(b []byte, qos byte) (_ []byte, idAt int) {
	at := len(b)
	b = binary.AppendUvarint(append(b, packets.Publish<<4|qos<<1), uint64(m.plainLength(qos)))
	b = append(binary.BigEndian.AppendUint16(b, uint16(len(m.topic))), m.topic...)
	if qos > 0 {
		idAt = len(b) - at
		b = append(b, 0, 0) // overwritten in each copy
	}
	return append(b, m.payload...), idAt
}

// additions are which properties the gateway adds to a message on a channel. A
// client that says how large a packet it takes gets fewer, before it gets none of
// the message (MQTT 5, 3.1.2.11.4).
type additions byte

const (
	addsAll additions = iota
	addsSender
	addsNothing
)

// properties returns the MQTT 5 properties of a delivery.
func (m *message) properties(adds additions) packets.Properties {
	p := m.extras.properties()
	if m.expires != 0 {
		p.MessageExpiryInterval = 1 // overwritten in each copy
	}
	c := m.channel
	if c == nil {
		if adds != addsAll { // it was on disk, and has what the gateway added among the others
			p.User = slices.DeleteFunc(slices.Clone(p.User), func(u packets.UserProperty) bool {
				return gatewaysOwn(u.Key) && (adds == addsNothing || u.Key != "sender")
			})
		}
		return p
	}
	switch { // what an MQTT client said of its content, and what it did not, stays (MQTT-3.3.2-20)
	case m.extras != nil || adds == addsNothing:
	case c.Hint == bridge.JSON:
		p.ContentType = contentJSON
	case c.Hint == bridge.Text:
		p.ContentType = contentText
	}
	user := make([]packets.UserProperty, 0, len(p.User)+5)
	for _, u := range p.User {
		if !gatewaysOwn(u.Key) { // never the client's word
			user = append(user, u)
		}
	}
	if adds == addsAll {
		if c.Name != "" {
			user = append(user, packets.UserProperty{Key: "sender-name", Val: c.Name})
		}
		user = append(user,
			packets.UserProperty{Key: "channel", Val: strconv.FormatUint(uint64(c.Channel), 10)},
			packets.UserProperty{Key: "type", Val: c.Type.String()},
			packets.UserProperty{Key: "id", Val: c.ID.String()},
		)
	}
	if adds != addsNothing { // last: some clients keep that one alone
		user = append(user, packets.UserProperty{Key: "sender", Val: strconv.FormatUint(uint64(c.Sender), 10)})
	}
	p.User = user
	return p
}

// delivery is one message in one session's queue.
type delivery struct {
	m      *message
	subIDs *[]int // shared with the route; nil: none
	seq    uint64 // at QoS 1 and 2 of a durable session: its number there
	id     uint16 // packet identifier; 0: not sent yet
	qos    byte
	marks  marks
}

// marks of a delivery are bits, because it is to have 32 bytes. Some of them are
// written to disk as they are (state.go), so their values stay.
type marks byte

const (
	markRetain   marks = 1 << 1 // sent with the retain flag
	markBacklog  marks = 1 << 2 // it was retained when the client subscribed
	markReleased marks = 1 << 4 // PUBREC came: it is PUBREL that may have to be sent again
	markShared   marks = 1 << 5 // by a shared subscription: another may get it
	markAgain    marks = 1 << 6 // it may have been sent before the gateway ended
	markHeld     marks = 1 << 7 // counted by its body (budget.go)

	marksOnDisk = markRetain | markBacklog | markReleased | markShared
)

func (d *delivery) is(m marks) bool { return d.marks&m != 0 }

// appendTo appends the PUBLISH. It reports false, and appends nothing, if that
// is larger than the client takes.
func (d *delivery) appendTo(buf []byte, c *conn, dup bool, now time.Time) ([]byte, bool) {
	at := len(buf)
	var idAt, expiryAt int
	if c.version != version5 && !d.m.many && len(d.m.topic) > 0 {
		buf, idAt = d.m.appendPlain(buf, d.qos)
	} else {
		e, fits := d.m.fitting(c, d)
		if !fits {
			return buf, false
		}
		buf = append(buf, e.b...)
		idAt, expiryAt = e.idAt, e.expiryAt
	}
	out := buf[at:]
	out[0] = packets.Publish<<4 | d.qos<<1
	if dup {
		out[0] |= 8
	}
	if d.is(markRetain) {
		out[0] |= 1
	}
	if idAt > 0 {
		binary.BigEndian.PutUint16(out[idAt:], d.id)
	}
	if expiryAt > 0 {
		binary.BigEndian.PutUint32(out[expiryAt:], uint32(max(1, seconds(d.m.expires-now.UnixMilli()))))
	}
	return buf, true
}

func varintLen(b []byte) int {
	for i, c := range b {
		if c < 0x80 {
			return i + 1
		}
	}
	return len(b)
}
