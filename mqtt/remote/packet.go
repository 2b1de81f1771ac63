package remote

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/mochi-mqtt/server/v2/packets"
)

// The versions of MQTT, as CONNECT has them. A bridge says version 4 with the highest bit, and
// is not sent its own messages by brokers that know it (mosquitto).
const (
	version5  = 5
	version3  = 4
	bridgeBit = 0x80
)

// property identifiers of a PUBLISH (MQTT 5, 2.2.2.2).
const (
	propFormat      = 0x01
	propExpiry      = 0x02
	propContentType = 0x03
	propUser        = 0x26
)

// publish is a message to be published.
type publish struct {
	topic   []byte
	payload []byte
	props   []byte // properties, encoded; empty for MQTT 3.1.1
	qos     byte
	retain  bool
}

// encode appends a PUBLISH (MQTT 5, section 3.3) to room, which is empty. The packet id, which begins
// at idAt, is left to whoever sends it; idAt is 0 at QoS 0.
func (p *publish) encode(room []byte, version byte) (b []byte, idAt int) {
	length := 2 + len(p.topic) + len(p.payload)
	if p.qos > 0 {
		length += 2
	}
	if version == version5 {
		length += uvarintBytes(len(p.props)) + len(p.props)
	}
	first := byte(packets.Publish<<4) | p.qos<<1
	if p.retain {
		first |= 1
	}
	b = binary.AppendUvarint(append(slices.Grow(room, length+5), first), uint64(length))
	b = append(binary.BigEndian.AppendUint16(b, uint16(len(p.topic))), p.topic...)
	if p.qos > 0 {
		idAt = len(b)
		b = append(b, 0, 0)
	}
	if version == version5 {
		b = append(binary.AppendUvarint(b, uint64(len(p.props))), p.props...)
	}
	return append(b, p.payload...), idAt
}

func uvarintBytes(n int) int {
	bytes := 1
	for ; n >= 0x80; n >>= 7 {
		bytes++
	}
	return bytes
}

func appendUserProperty[T string | []byte](b []byte, key string, value T) []byte {
	b = append(binary.BigEndian.AppendUint16(append(b, propUser), uint16(len(key))), key...)
	return append(binary.BigEndian.AppendUint16(b, uint16(len(value))), value...)
}

func appendTextProperty(b []byte, id byte, value string) []byte {
	return append(binary.BigEndian.AppendUint16(append(b, id), uint16(len(value))), value...)
}

func appendExpiry(b []byte, seconds uint32) []byte {
	return binary.BigEndian.AppendUint32(append(b, propExpiry), seconds)
}

// write encodes a packet that is no PUBLISH.
func write(w io.Writer, pk *packets.Packet) error {
	var b bytes.Buffer
	var err error
	switch pk.FixedHeader.Type {
	case packets.Connect:
		err = pk.ConnectEncode(&b)
	case packets.Subscribe:
		err = pk.SubscribeEncode(&b)
	case packets.Unsubscribe:
		err = pk.UnsubscribeEncode(&b)
	case packets.Disconnect:
		err = pk.DisconnectEncode(&b)
	default:
		err = fmt.Errorf("remote: no packet of type %d is sent", pk.FixedHeader.Type)
	}
	if err == nil {
		_, err = w.Write(b.Bytes())
	}
	return err
}

// ackBytes is what a PUBACK takes that says no more than yes. One of MQTT 5 may have a reason code and
// properties, and so be longer by one byte or two.
const ackBytes = 4

// plainAck reads a PUBACK that says yes, as nearly all do, where b begins with one. N is its bytes; 0:
// there is none.
func plainAck(b []byte, version byte) (id uint16, n int) {
	if len(b) < ackBytes || b[0] != packets.Puback<<4 {
		return 0, 0
	}
	n = 2 + int(b[1])
	switch {
	case n == ackBytes:
	case version != version5 || n < ackBytes || n > ackBytes+2 || len(b) < n || b[4] >= 0x80 || n == ackBytes+2 && b[5] != 0:
		return 0, 0
	}
	return binary.BigEndian.Uint16(b[2:]), n
}

// errPacket says that what a broker sent is not MQTT.
var errPacket = errors.New("the broker sent what is not MQTT")

// read reads one packet of at most limit bytes.
func read(r *bufio.Reader, version byte, limit int) (pk packets.Packet, err error) {
	first, err := r.ReadByte()
	if err != nil {
		return pk, err
	}
	if err := pk.FixedHeader.Decode(first); err != nil {
		return pk, errPacket
	}
	length, err := binary.ReadUvarint(r)
	if err == nil {
		err = within(length, limit)
	}
	if err != nil {
		return pk, err
	}
	body := make([]byte, length)
	if _, err := io.ReadFull(r, body); err != nil {
		return pk, err
	}
	pk.ProtocolVersion, pk.FixedHeader.Remaining = version, len(body)
	return pk, decode(&pk, body)
}

// within checks the length of what follows a packet's header.
func within(length uint64, limit int) error {
	if length > uint64(limit) {
		return fmt.Errorf("the broker sent a packet of %d bytes, the limit is %d (mqtt.max_packet_bytes)", length, limit)
	}
	return nil
}

// packetBytes returns the length of the packet that b begins with; 0: its header is not there.
func packetBytes(b []byte) uint64 {
	if len(b) < 2 {
		return 0
	}
	length, n := binary.Uvarint(b[1:min(len(b), 5)])
	if n <= 0 {
		return 0
	}
	return uint64(1+n) + length
}

// unpack is read of b, which is one packet. What it returns shares nothing with b.
func unpack(b []byte, version byte, limit int) (pk packets.Packet, err error) {
	if err := pk.FixedHeader.Decode(b[0]); err != nil {
		return pk, errPacket
	}
	length, n := binary.Uvarint(b[1:])
	if err := within(length, limit); err != nil {
		return pk, err
	}
	body := bytes.Clone(b[1+n:])
	pk.ProtocolVersion, pk.FixedHeader.Remaining = version, len(body)
	return pk, decode(&pk, body)
}

// decode reads the body of a packet that a server sends. A panic of the codec means that it is
// malformed.
func decode(pk *packets.Packet, body []byte) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: the codec failed: %v", errPacket, r)
		}
	}()
	switch pk.FixedHeader.Type {
	case packets.Connack:
		err = pk.ConnackDecode(body)
	case packets.Publish:
		err = pk.PublishDecode(body)
	case packets.Puback:
		err = pk.PubackDecode(body)
	case packets.Suback:
		err = pk.SubackDecode(body)
	case packets.Unsuback:
		err = pk.UnsubackDecode(body)
	case packets.Pingresp:
	case packets.Disconnect:
		err = pk.DisconnectDecode(body)
		if len(body) == 1 {
			pk.ReasonCode = body[0] // MQTT 5, 3.14.2.2.1: the properties' length may be missing
		}
	case packets.Pubrel: // of no message here: nothing is subscribed to at QoS 2
	default:
		return errPacket
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errPacket, err)
	}
	return nil
}
