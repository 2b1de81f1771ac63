package wire

import "encoding/binary"

// Request is one basic frame from a client. Key, Receivers and Data point into
// the bytes that it was parsed from. Fields that its Op does not have are zero.
type Request struct {
	Op        byte
	ID        uint32
	Channel   uint32
	Key       []byte
	Receivers IDs
	Data      []byte
}

// IDs are ids or channels as they stand in a frame: four bytes each.
type IDs []byte

// Len returns how many ids there are.
func (ids IDs) Len() int { return len(ids) / 4 }

// At returns the id at i.
func (ids IDs) At(i int) uint32 { return binary.LittleEndian.Uint32(ids[4*i:]) }

// AppendIDs appends ids as frames hold them: four bytes each.
func AppendIDs[T ~uint32](b []byte, ids ...T) []byte {
	for _, id := range ids {
		b = binary.LittleEndian.AppendUint32(b, uint32(id))
	}
	return b
}

// Parse reads a datagram: exactly one request. Its errors are ErrShort,
// ErrTrailing, ErrUnknown (session frames included) and ErrFromGateway.
func Parse(datagram []byte) (Request, error) {
	b := datagram
	frame, data, err := size(b)
	switch {
	case err != nil:
		return Request{}, err
	case frame == 0 || frame > uint64(len(b)):
		return Request{}, ErrShort
	case frame < uint64(len(b)):
		return Request{}, ErrTrailing
	}
	r := Request{Op: b[0]}
	switch r.Op {
	case OpKey:
		r.Key = b[2:]
	case OpWhere:
		for _, pad := range b[1:] {
			if pad != 0 {
				return Request{}, ErrFromGateway
			}
		}
	case OpList, OpKeepAlive:
		r.ID = binary.LittleEndian.Uint32(b[1:])
	case OpJoin, OpQuit, OpMessage, OpSend:
		r.ID = binary.LittleEndian.Uint32(b[1:])
		r.Channel = binary.LittleEndian.Uint32(b[5:])
	}
	switch r.Op {
	case OpSend:
		r.Receivers = IDs(b[10 : 10+4*int(b[9])])
		fallthrough
	case OpMessage:
		r.Data = b[uint64(len(b))-data:]
	}
	return r, nil
}

// Length returns the whole length in bytes of the frame at the start of b, or 0 while
// more bytes are needed to know. It fails before the frame has arrived: with ErrUnknown
// or ErrFromGateway at its first byte, with ErrTooLarge as soon as it announces more than
// limit bytes of data. An empty b is not an error.
func Length(b []byte, limit int) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	frame, data, err := size(b)
	switch {
	case err != nil:
		return 0, err
	case data > uint64(limit):
		return 0, ErrTooLarge
	}
	return int(frame), nil
}

// size returns the lengths of the frame at the start of b, and of its data. Frame is 0
// while b is too short to tell.
func size(b []byte) (frame, data uint64, err error) {
	if len(b) == 0 {
		return 0, 0, nil
	}
	switch b[0] {
	case OpRegister:
		return 1, 0, nil
	case OpKey:
		if len(b) < 2 {
			return 0, 0, nil
		}
		return 2 + uint64(b[1]), 0, nil
	case OpList, OpKeepAlive:
		return 5, 0, nil
	case OpWhere:
		return 8, 0, nil
	case OpJoin, OpQuit:
		return 9, 0, nil
	case OpMessage:
		return sizeWithData(b, 13)
	case OpSend:
		if len(b) < 10 {
			return 0, 0, nil
		}
		return sizeWithData(b, 10+4*int(b[9])+4)
	case OpAnswer, OpError:
		return 0, 0, ErrFromGateway
	}
	return 0, 0, ErrUnknown
}

// sizeWithData is size for a frame whose header ends with its data's length.
func sizeWithData(b []byte, header int) (frame, data uint64, err error) {
	if len(b) < header {
		return 0, 0, nil
	}
	data = uint64(binary.LittleEndian.Uint32(b[header-4:]))
	return uint64(header) + data, data, nil
}

// AppendRequest appends a request's frame. It fails, and appends nothing, with ErrUnknown
// for an Op that is not a request, and with ErrTooMany for more than MaxKey bytes of key,
// MaxReceivers receivers or 4 GiB of data.
func AppendRequest(b []byte, r Request) ([]byte, error) {
	if len(r.Key) > MaxKey || r.Receivers.Len() > MaxReceivers || uint64(len(r.Data)) > 1<<32-1 {
		return b, ErrTooMany
	}
	le := binary.LittleEndian
	switch r.Op {
	case OpRegister:
		return append(b, r.Op), nil
	case OpKey:
		return append(append(b, r.Op, byte(len(r.Key))), r.Key...), nil
	case OpWhere:
		return append(b, r.Op, 0, 0, 0, 0, 0, 0, 0), nil
	case OpList, OpKeepAlive:
		return le.AppendUint32(append(b, r.Op), r.ID), nil
	case OpJoin, OpQuit, OpMessage, OpSend:
		b = le.AppendUint32(append(b, r.Op), r.ID)
		b = le.AppendUint32(b, r.Channel)
	default:
		return b, ErrUnknown
	}
	if r.Op == OpSend {
		b = append(append(b, byte(r.Receivers.Len())), r.Receivers[:4*r.Receivers.Len()]...)
	}
	if r.Op == OpSend || r.Op == OpMessage {
		b = append(le.AppendUint32(b, uint32(len(r.Data))), r.Data...)
	}
	return b, nil
}
