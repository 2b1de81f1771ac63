package mqtt

import (
	"encoding/binary"

	"github.com/mochi-mqtt/server/v2/packets"
)

// The types of properties (MQTT 5, 2.2.2.2). mochi reads properties, but accepts
// duplicates, properties longer than their section, and forbidden values.
const (
	propByte = 1 + iota
	propTwo
	propFour
	propVarint
	propText // or binary data
	propPair
)

var propertyTypes = map[byte]byte{
	1: propByte, 2: propFour, 3: propText, 8: propText, 9: propText, 11: propVarint, 17: propFour, 18: propText, 19: propTwo,
	21: propText, 22: propText, 23: propByte, 24: propFour, 25: propByte, 26: propText, 28: propText, 31: propText, 33: propTwo,
	34: propTwo, 35: propTwo, 36: propByte, 37: propByte, 38: propPair, 39: propFour, 40: propByte, 41: propByte, 42: propByte,
}

// checkProperties checks the property sections of an MQTT 5 packet that mochi has decoded.
func checkProperties(pk *packets.Packet, body []byte) error {
	at := -1
	switch pk.FixedHeader.Type {
	case packets.Connect:
		at = 2 + len(pk.Connect.ProtocolName) + 4
	case packets.Publish:
		at = 2 + len(pk.TopicName)
		if pk.FixedHeader.Qos > 0 {
			at += 2
		}
	case packets.Subscribe, packets.Unsubscribe:
		at = 2
	case packets.Puback, packets.Pubrec, packets.Pubrel, packets.Pubcomp:
		at = 3
	case packets.Disconnect:
		at = 1
	}
	if at < 0 || at >= len(body) {
		return nil // it has none
	}
	rest, err := checkSection(body[at:])
	switch {
	case err != nil:
		return err
	case pk.FixedHeader.Type == packets.Connect && pk.Connect.WillFlag:
		_, err = checkSection(rest[2+len(pk.Connect.ClientIdentifier):])
	case pk.FixedHeader.Type == packets.Subscribe:
		err = checkOptions(rest)
	case len(rest) > 0 && (ackLike(pk.FixedHeader.Type) || pk.FixedHeader.Type == packets.Disconnect):
		err = errBehind
	}
	return err
}

// checkSection checks one section and returns the bytes after it.
func checkSection(b []byte) (rest []byte, err error) {
	n, used := binary.Uvarint(b)
	if used <= 0 || used > 4 || n > uint64(len(b)-used) {
		return nil, packets.ErrMalformedPacket
	}
	b, rest = b[used:used+int(n)], b[used+int(n):]
	var seen [43]bool
	for len(b) > 0 {
		id := b[0]
		size := propertySize(propertyTypes[id], b[1:])
		if size < 0 || size > len(b)-1 {
			return nil, packets.ErrMalformedPacket
		}
		if seen[id] && id != packets.PropUser || !allowed(id, b[1:1+size]) {
			return nil, packets.ErrProtocolViolation
		}
		seen[id] = true
		b = b[1+size:]
	}
	return rest, nil
}

// propertySize returns the length of a value in bytes, or -1.
func propertySize(kind byte, b []byte) int {
	text := func(at int) int {
		if len(b) < at+2 {
			return len(b) + 1 // longer than its section
		}
		return at + 2 + int(binary.BigEndian.Uint16(b[at:]))
	}
	switch kind {
	case propByte:
		return 1
	case propTwo:
		return 2
	case propFour:
		return 4
	case propVarint:
		return varintLen(b)
	case propText:
		return text(0)
	case propPair:
		return text(text(0))
	}
	return -1
}

// allowed reports whether a property may have a value.
func allowed(id byte, value []byte) bool {
	switch id {
	case packets.PropReceiveMaximum, packets.PropMaximumPacketSize:
		for _, b := range value {
			if b != 0 {
				return true
			}
		}
		return false
	case packets.PropRequestProblemInfo, packets.PropRequestResponseInfo, packets.PropPayloadFormat:
		return value[0] <= 1
	}
	return true
}

// checkOptions checks that the reserved bits of a SUBSCRIBE's options are clear
// (MQTT-3.8.3-5).
func checkOptions(b []byte) error {
	for len(b) > 2 {
		end := 2 + int(binary.BigEndian.Uint16(b))
		if end >= len(b) || b[end]&0xc0 != 0 {
			return packets.ErrMalformedPacket
		}
		b = b[end+1:]
	}
	return nil
}

var errBehind = packets.Code{Code: packets.ErrMalformedPacket.Code, Reason: "malformed packet: bytes behind its last field"}

// ackLike reports whether a packet type has the layout of PUBACK.
func ackLike(kind byte) bool {
	return kind == packets.Puback || kind == packets.Pubrec || kind == packets.Pubrel || kind == packets.Pubcomp
}

func varintLen(b []byte) int {
	for i, c := range b {
		if c < 0x80 {
			return i + 1
		}
	}
	return len(b)
}
