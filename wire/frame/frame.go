package frame

import (
	"encoding/binary"

	"watchtower/wire"
)

var le = binary.LittleEndian

// Frame is a frame without its tag. Body points into the bytes that it was
// parsed from.
type Frame struct {
	Op    Op
	Flags byte
	ID    uint32
	Seq   uint32
	Body  []byte
}

// AckWanted reports whether the flag is set.
func (f Frame) AckWanted() bool { return f.Flags&AckWanted != 0 }

// Truncated reports whether the flag is set.
func (f Frame) Truncated() bool { return f.Flags&Truncated != 0 }

// NoneBefore reports whether the flag is set.
func (f Frame) NoneBefore() bool { return f.Flags&First != 0 }

// Hint is what the data of a b or s is meant to be: 0 nothing known, 1 text, 2 JSON.
func (f Frame) Hint() byte { return f.Flags >> hintShift & 3 }

// Code is what an e says.
func (f Frame) Code() Code { return Code(f.Flags >> codeShift) }

// HintFlags returns the flags that say what data is meant to be.
func HintFlags(hint byte) byte { return hint & 3 << hintShift }

// Length returns the length in bytes of the frame at the start of b, or 0 while more
// bytes are needed to know.
func Length(b []byte) int {
	if len(b) < 4 {
		return 0
	}
	return Overhead + int(le.Uint16(b[2:]))
}

// Parse reads exactly one frame. It checks neither the tag nor the content of the body.
func Parse(b []byte) (Frame, error) {
	switch n := Length(b); {
	case n == 0 || n > len(b):
		return Frame{}, ErrShort
	case n < len(b):
		return Frame{}, ErrTrailing
	}
	return Frame{Op: Op(b[0]), Flags: b[1], ID: le.Uint32(b[4:]), Seq: le.Uint32(b[8:]), Body: b[HeaderSize : len(b)-TagSize]}, nil
}

// Header reads a frame's header. B may end behind it.
func Header(b []byte) Frame {
	return Frame{Op: Op(b[0]), Flags: b[1], ID: le.Uint32(b[4:]), Seq: le.Uint32(b[8:])}
}

// Begin appends a header. The body follows, then Seal.
func Begin(b []byte, op Op, flags byte, id, seq uint32) []byte {
	b = append(b, byte(op), flags, 0, 0)
	b = le.AppendUint32(b, id)
	return le.AppendUint32(b, seq)
}

// Seal ends the frame that begins at begin: it fills in the length of its body
// and appends the tag.
func Seal(b []byte, begin int, k Key) []byte {
	le.PutUint16(b[begin+2:], uint16(len(b)-begin-HeaderSize))
	return le.AppendUint64(b, k.Sum(b[begin:]))
}

// Append appends a whole frame.
func Append(b []byte, f Frame, k Key) []byte {
	begin := len(b)
	b = append(Begin(b, f.Op, f.Flags, f.ID, f.Seq), f.Body...)
	return Seal(b, begin, k)
}

// Receiver has the fields of a delivery that differ from receiver to receiver.
type Receiver struct {
	Flags byte
	ID    uint32
	Seq   uint32
	Room  int // bytes: the largest frame that it can take
}

// AppendDelivery appends an m that has no receiver yet: flags, id, number and tag are 0.
// All receivers share it; Stamp makes the copy for each.
func AppendDelivery(b []byte, d wire.Delivery) []byte {
	begin := len(b)
	b = le.AppendUint32(Begin(b, Delivery, 0, 0, 0), d.Sender)
	b = le.AppendUint32(b, d.Channel)
	b = le.AppendUint16(b, d.Type)
	b = append(b, d.Data...)
	le.PutUint16(b[begin+2:], uint16(min(len(b)-begin-HeaderSize, MaxBody)))
	return le.AppendUint64(b, 0)
}

// Stamp appends a delivery for one receiver. If it has not room for all, the data is cut
// short and the frame is flagged as truncated.
func Stamp(b, delivery []byte, to Receiver, k Key) []byte {
	begin := len(b)
	end := len(delivery) - TagSize
	if room := min(to.Room, MaxBody+Overhead) - TagSize; end > room {
		end = room
		to.Flags |= Truncated
	}
	b = append(b, delivery[:end]...)
	b[begin+1] = to.Flags
	le.PutUint32(b[begin+4:], to.ID)
	le.PutUint32(b[begin+8:], to.Seq)
	return Seal(b, begin, k)
}

// AppendAnswer appends an a: op is done, with a result or none.
func AppendAnswer(b []byte, id, seq uint32, op Op, k Key, result ...byte) []byte {
	begin := len(b)
	b = append(Begin(b, Answer, 0, id, seq), byte(op))
	return Seal(append(b, result...), begin, k)
}

// AppendError appends an e: op is not done.
func AppendError(b []byte, id, seq uint32, op Op, code Code, k Key) []byte {
	begin := len(b)
	b = append(Begin(b, Error, byte(code)<<codeShift, id, seq), byte(op))
	return Seal(b, begin, k)
}

// AppendRefusal appends the e to an r. It is never longer than what it answers: an
// r without a body is refused by an e without one.
func AppendRefusal(b []byte, r Frame, code Code, k Key) []byte {
	if len(r.Body) == 0 {
		return Append(b, Frame{Op: Error, Flags: byte(code) << codeShift, Seq: r.Seq}, k)
	}
	return AppendError(b, 0, r.Seq, Register, code, k)
}

// AppendUnknown appends the e for a frame with an unknown id. There is no key for it, so
// it repeats the id, number and tag of the frame: the device sees that whoever answers
// has seen its frame.
func AppendUnknown(b []byte, frame []byte) []byte {
	b = append(b, byte(Error), byte(UnknownID)<<codeShift, 0, 0)
	b = append(b, frame[4:HeaderSize]...)
	return append(b, frame[len(frame)-TagSize:]...)
}
