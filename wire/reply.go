package wire

import "encoding/binary"

// AppendAnswer appends A with an id or a channel.
func AppendAnswer(b []byte, value uint32) []byte {
	return binary.LittleEndian.AppendUint32(append(b, OpAnswer), value)
}

// AppendList appends A with the channels joined, in ascending order. A datagram has room
// for MaxListed.
func AppendList[T ~uint32](b []byte, channels []T) []byte {
	return AppendIDs(AppendAnswer(b, uint32(len(channels))), channels...)
}

// AppendError appends E.
func AppendError(b []byte) []byte { return append(b, OpError) }

// Where is the answer to W.
type Where struct {
	Version byte
	TCPPort uint16 // 0: the gateway does not listen on TCP
	Gateway uint32
}

// AppendWhere appends the answer to W.
func AppendWhere(b []byte, w Where) []byte {
	b = binary.LittleEndian.AppendUint16(append(b, OpWhere, w.Version), w.TCPPort)
	return binary.LittleEndian.AppendUint32(b, w.Gateway)
}

// Delivery is a message as a member gets it. Data points into the bytes that it
// was parsed from.
type Delivery struct {
	Sender  uint32
	Channel uint32
	Type    uint16 // low byte: 0 broadcast, 1 targeted; high byte: the content hint
	Data    []byte
}

// AppendDelivery appends a delivery: DeliveryHeader bytes and its data.
func AppendDelivery(b []byte, d Delivery) []byte {
	le := binary.LittleEndian
	b = le.AppendUint32(append(b, OpMessage), d.Sender)
	b = le.AppendUint32(b, d.Channel)
	b = le.AppendUint16(b, d.Type)
	b = le.AppendUint32(b, uint32(len(d.Data)))
	return append(b, d.Data...)
}

// The functions below are the client's side.

// ReplyLength returns the length in bytes of the gateway's frame at the start of b, or 0
// while more bytes are needed to know. An answer to L looks like any other A: listed says
// that it is one. ErrUnknown is for a first byte that no gateway sends.
func ReplyLength(b []byte, listed bool) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	switch b[0] {
	case OpError:
		return 1, nil
	case OpWhere:
		return 8, nil
	case OpAnswer:
		switch {
		case !listed:
			return 5, nil
		case len(b) < 5:
			return 0, nil
		}
		return 5 + 4*int(binary.LittleEndian.Uint32(b[1:])), nil
	case OpMessage:
		if len(b) < DeliveryHeader {
			return 0, nil
		}
		return DeliveryHeader + int(binary.LittleEndian.Uint32(b[11:])), nil
	}
	return 0, ErrUnknown
}

// reply checks that b is exactly one of the gateway's frames, of the given kind.
func reply(b []byte, op byte, listed bool) error {
	n, err := ReplyLength(b, listed)
	switch {
	case err != nil:
		return err
	case n == 0 || n > len(b):
		return ErrShort
	case n < len(b):
		return ErrTrailing
	case b[0] != op:
		return ErrUnknown
	}
	return nil
}

// ParseAnswer reads an A that is not the answer to L.
func ParseAnswer(b []byte) (uint32, error) {
	if err := reply(b, OpAnswer, false); err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint32(b[1:]), nil
}

// ParseList reads the answer to L.
func ParseList(b []byte) (IDs, error) {
	if err := reply(b, OpAnswer, true); err != nil {
		return nil, err
	}
	return IDs(b[5:]), nil
}

// ParseWhere reads the answer to W.
func ParseWhere(b []byte) (Where, error) {
	if err := reply(b, OpWhere, false); err != nil {
		return Where{}, err
	}
	return Where{
		Version: b[1],
		TCPPort: binary.LittleEndian.Uint16(b[2:]),
		Gateway: binary.LittleEndian.Uint32(b[4:]),
	}, nil
}

// ParseDelivery reads a delivery.
func ParseDelivery(b []byte) (Delivery, error) {
	if err := reply(b, OpMessage, false); err != nil {
		return Delivery{}, err
	}
	return Delivery{
		Sender:  binary.LittleEndian.Uint32(b[1:]),
		Channel: binary.LittleEndian.Uint32(b[5:]),
		Type:    binary.LittleEndian.Uint16(b[9:]),
		Data:    b[DeliveryHeader:],
	}, nil
}
