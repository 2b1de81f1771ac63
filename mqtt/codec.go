package mqtt

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/mochi-mqtt/server/v2/packets"
)

// decode reads the body of a client's packet. A panic of the codec means malformed.
func decode(pk *packets.Packet, body []byte) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: the codec failed: %v", packets.ErrMalformedPacket, r)
		}
	}()
	switch pk.FixedHeader.Type {
	case packets.Connect:
		err = pk.ConnectDecode(body)
	case packets.Publish:
		err = pk.PublishDecode(body)
	case packets.Puback:
		err = pk.PubackDecode(body)
	case packets.Pubrec:
		err = pk.PubrecDecode(body)
	case packets.Pubrel:
		err = pk.PubrelDecode(body)
	case packets.Pubcomp:
		err = pk.PubcompDecode(body)
	case packets.Subscribe:
		err = pk.SubscribeDecode(body)
	case packets.Unsubscribe:
		err = pk.UnsubscribeDecode(body)
	case packets.Pingreq:
		if len(body) > 0 {
			return packets.ErrMalformedPacket
		}
	case packets.Disconnect:
		err = pk.DisconnectDecode(body)
		if len(body) == 1 {
			pk.ReasonCode = body[0] // MQTT 5, 3.14.2.2.1: the properties' length may be missing
		}
	default: // or AUTH, without an agreed method (MQTT-4.12.0-7)
		return packets.ErrProtocolViolation // a packet that only a server sends
	}
	if err != nil && !isMalformed(err) {
		return fmt.Errorf("%w: %w", packets.ErrMalformedPacket, err)
	}
	switch {
	case err != nil:
		return err
	case pk.ProtocolVersion == version5:
		err = checkProperties(pk, body)
	case ackLike(pk.FixedHeader.Type) && len(body) > 2, pk.FixedHeader.Type == packets.Disconnect && len(body) > 0:
		err = errBehind
	}
	if err == nil && pk.FixedHeader.Type == packets.Connect && pk.ProtocolVersion&^bridgeBit <= version5 {
		err = checkConnectEnd(pk, body)
	}
	return err
}

// checkConnectEnd checks that no bytes follow the last field of a CONNECT. The caller
// has decoded it, so all fields are there.
func checkConnectEnd(pk *packets.Packet, body []byte) error {
	field := func() { body = body[2+int(binary.BigEndian.Uint16(body)):] }
	section := func() {
		if pk.ProtocolVersion == version5 {
			n, used := binary.Uvarint(body)
			body = body[used+int(n):]
		}
	}
	field()         // the protocol's name
	body = body[4:] // version, flags, keep-alive
	section()
	field() // client id
	if pk.Connect.WillFlag {
		section()
		field()
		field()
	}
	if pk.Connect.UsernameFlag {
		field()
	}
	if pk.Connect.PasswordFlag {
		field()
	}
	if len(body) > 0 {
		return errBehind
	}
	return nil
}

// encodeControl encodes an answer of the broker. It leaves the reason string out if the
// packet would be larger than maxSize bytes (0: no limit).
func encodeControl(pk packets.Packet, version byte, maxSize uint32) ([]byte, error) {
	pk.ProtocolVersion = version
	b, err := encode(pk)
	if maxSize > 0 && len(b) > int(maxSize) && pk.Properties.ReasonString != "" {
		pk.Properties.ReasonString = ""
		return encode(pk)
	}
	return b, err
}

func encode(pk packets.Packet) ([]byte, error) {
	var buf bytes.Buffer
	var err error
	switch pk.FixedHeader.Type {
	case packets.Connack:
		err = pk.ConnackEncode(&buf)
	case packets.Puback, packets.Pubrec, packets.Pubcomp:
		err = pk.PubackEncode(&buf) // all have the same layout
	case packets.Suback:
		err = pk.SubackEncode(&buf)
	case packets.Unsuback:
		err = pk.UnsubackEncode(&buf)
	case packets.Disconnect:
		err = pk.DisconnectEncode(&buf)
	default:
		err = packets.ErrNoValidPacketAvailable
	}
	return buf.Bytes(), err
}

// bridgeBit is set in the protocol level by a bridge of another broker (mosquitto does so
// with MQTT 3.1 and 3.1.1). A bridge does not get its own messages back, and gets the
// retain flag as it was published.
const bridgeBit = 0x80

const version5 = 5
