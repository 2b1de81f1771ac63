package mqtt

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strconv"

	"github.com/mochi-mqtt/server/v2/packets"

	"watchtower/bridge"
)

// size is the length in bytes of its PUBLISH for MQTT 3.1.1 at QoS 1.
func (m *message) size() int {
	n := m.plainLength(1)
	return 1 + len(binary.AppendUvarint(nil, uint64(n))) + n
}

// seconds rounds milliseconds up to seconds, the unit of MQTT.
func seconds(ms int64) int64 { return (ms + 999) / 1000 }

// encode returns the message's encoding for a version and QoS. A message with many
// receivers is encoded once, unless it carries subscription identifiers.
func (m *message) encode(version, qos byte, subIDs *[]int, all *budget) (*encoding, error) {
	qos = min(qos, 1) // QoS 1 and 2 differ in the first byte only
	i := int(qos)
	if version == version5 {
		i += 2
	}
	reused := m.many && subIDs == nil
	if reused {
		if e := m.encodings[i].Load(); e != nil {
			return e, nil
		}
	}
	e, err := m.build(version, qos, subIDs, addsAll)
	if err == nil && reused && m.encodings[i].CompareAndSwap(nil, e) {
		all.used.Add(m.grow(cap(e.b)))
	}
	return e, err
}

// gatewaysOwn reports whether a user property of a message on a channel is the gateway's.
func gatewaysOwn(key string) bool {
	switch key {
	case "sender", "sender-name", "channel", "type", "id", "confirmed_by":
		return true
	}
	return false
}

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
			at += 2 // the codec writes the payload format before the expiry
		}
		e.expiryAt = at + 1
	}
	return e, nil
}

// buildPlain makes an encoding without properties, in one allocation.
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

// additions says which properties the gateway adds to a message on a channel. If the
// packet exceeds the client's Maximum Packet Size (MQTT 5, 3.1.2.11.4), the gateway adds
// fewer before it drops the message.
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
		if adds != addsAll { // a message from disk has the gateway's properties among the others
			p.User = slices.DeleteFunc(slices.Clone(p.User), func(u packets.UserProperty) bool {
				return gatewaysOwn(u.Key) && (adds == addsNothing || u.Key != "sender")
			})
		}
		return p
	}
	switch { // the content type of an MQTT client stays as it is (MQTT-3.3.2-20)
	case m.extras != nil || adds == addsNothing:
	case c.Hint == bridge.JSON:
		p.ContentType = contentJSON
	case c.Hint == bridge.Text:
		p.ContentType = contentText
	}
	user := make([]packets.UserProperty, 0, len(p.User)+5)
	for _, u := range p.User {
		if !gatewaysOwn(u.Key) { // a client cannot set these
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
		if c.ConfirmedBy != nil {
			user = append(user, packets.UserProperty{Key: "confirmed_by", Val: bridge.JoinIDs(c.ConfirmedBy)})
		}
	}
	if adds != addsNothing { // last: some clients keep only the last one
		user = append(user, packets.UserProperty{Key: "sender", Val: strconv.FormatUint(uint64(c.Sender), 10)})
	}
	p.User = user
	return p
}
