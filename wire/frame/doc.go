// Package frame is the codec of session frames: the authenticated family of the
// wire protocol, whose first byte is a lowercase letter. It turns bytes into
// frames and frames into bytes, derives keys and checks tags. It allocates
// nothing, and knows no socket, no session and no rule beyond a frame's layout.
//
// All integers are unsigned and little-endian. Every frame looks like this:
//
//	offset  size  field
//	0       1     op      what it is
//	1       1     flags
//	2       2     len     bytes of body
//	4       4     id      the session's sender id; 0 before registration
//	8       4     seq     the number of the frame
//	12      len   body
//	12+len  8     tag     SipHash-2-4 over all bytes before it
//
// Bodies, with the sizes of their fields in bytes:
//
//	r  version:1 options:1 keepalive:2 maxdatagram:2 pace:1 cnonce:8 cookie:8 n:1 name:n
//	c  cnonce:8 cookie:8
//	a  op:1 result           op is done; result of r: cnonce:8 keepalive:2 maxdatagram:2
//	e  op:1                  op is not done; the code is in the flags
//	j  channel:4×n           join
//	x  channel:4×n           leave
//	l  start:4               channels; result more:1 channel:4×n
//	u  channel:4 start:4     members; result more:1 id:4×n
//	b  n:1 channel:4×n data  broadcast
//	s  n:1 channel:4×n m:1 receiver:4×m data
//	p  nothing, or challenge:8
//	d  seconds:2             bye, or sleep
//	m  sender:4 channel:4 type:2 data      delivery
//	k  nothing               delivered
//	q  challenge:8           is this address yours?
package frame

import "errors"

// Op is the first byte of a session frame.
type Op byte

// The ops. Those of the gateway are Cookie, Answer, Error, Delivery and
// Challenge; all others are a device's.
const (
	Register  Op = 'r'
	Cookie    Op = 'c'
	Answer    Op = 'a'
	Error     Op = 'e'
	Join      Op = 'j'
	Leave     Op = 'x'
	Channels  Op = 'l'
	Members   Op = 'u'
	Broadcast Op = 'b'
	Send      Op = 's'
	Ping      Op = 'p'
	Bye       Op = 'd'
	Delivery  Op = 'm'
	Delivered Op = 'k'
	Challenge Op = 'q'
)

// FromGateway reports whether only gateways send this op.
func (o Op) FromGateway() bool {
	switch o {
	case Cookie, Answer, Error, Delivery, Challenge:
		return true
	}
	return false
}

// Is reports whether b begins a session frame.
func Is(b []byte) bool { return len(b) > 0 && b[0] >= 'a' && b[0] <= 'z' }

// Flags of a frame.
const (
	AckWanted = 1 << 0 // an answer, or a k, is asked for
	Truncated = 1 << 1 // a delivery: its data is cut short
	First     = 1 << 2 // a delivery: none before it is outstanding
	hintShift = 2      // of a b or s: two bits that say what the data is
	codeShift = 4      // of an e: four bits
)

// Code is what an e says.
type Code byte

// The error codes, and the limits of frames in bytes.
const (
	OK            Code = 0
	UnknownID     Code = 1 // or expired: the device registers again
	NotJoined     Code = 3 // a channel that was named
	NotOnChannel  Code = 4 // a receiver
	BadRequest    Code = 5 // malformed, or too large
	SlowDown      Code = 6
	Full          Code = 7
	NotSupported  Code = 8 // an unknown op, a version other than 1, a protected name
	NameHasKey    Code = 9 // and the r was tagged with the key that all share
	Version            = 1
	HeaderSize         = 12
	TagSize            = 8
	Overhead           = HeaderSize + TagSize
	MaxDatagram        = 1200      // in either direction
	LeastDatagram      = 64        // that a device can ask for
	MaxBody            = 1<<16 - 1 // on TCP
	MaxName            = 32
	DeliveryFixed      = 10 // bytes of a delivery's body before its data
)

// What can be wrong with a frame.
var (
	ErrShort    = errors.New("frame: cut short")
	ErrTrailing = errors.New("frame: bytes follow it")
	ErrBody     = errors.New("frame: its body is not one of its op")
)
