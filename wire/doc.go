// Package wire is the codec of the wire protocol: the same frames travel over
// UDP, one in each datagram, and over TCP, back to back. It turns bytes into
// requests and replies into bytes, allocates nothing, and knows no socket, no
// sender and no rule beyond the layout of a frame.
//
// All integers are unsigned and little-endian. A frame begins with one byte
// that says what it is. Basic frames begin with an uppercase letter and are the
// subject of this package; session frames begin with a lowercase one.
//
// A device registers, by R on an open gateway or by K with the secret key. The answer is
// A with its id. With that id it joins channels (J), quits them (Q), lists them (L),
// broadcasts (M), sends to chosen members (S) and says that it is still there (P). W asks
// where the gateway is, and may go to the broadcast address. M and S have no answer; the
// other requests are answered by A. E, one bare byte, says that the last request failed
// or that its id is unknown. A message reaches a member as a delivery: an M with another
// layout than the request.
//
// Requests, with the sizes of their fields in bytes:
//
//	R                                       register (open gateway)
//	K len:1 key:len                         register with the key
//	J id:4 channel:4                        join
//	Q id:4 channel:4                        quit
//	L id:4                                  list the channels joined
//	M id:4 channel:4 len:4 data:len         broadcast
//	S id:4 channel:4 n:1 receiver:4×n len:4 data:len   send
//	P id:4                                  keep-alive
//	W 0×7                                   where is the gateway
//
// From the gateway:
//
//	A value:4                               answer: the id, or the channel
//	A n:4 channel:4×n                       answer to L, ascending
//	W version:1 tcpport:2 gateway:4         answer to W
//	M sender:4 channel:4 type:2 len:4 data:len         delivery
//	E                                       error
//
// A, E, and a W with a byte that is not 0, are the gateway's own frames. They must never
// be answered (ErrFromGateway): two gateways would talk to each other for ever.
package wire

import "errors"

// The first bytes of basic frames (docs/protocol.md, "Basic frames").
const (
	OpRegister  = 'R'
	OpKey       = 'K'
	OpJoin      = 'J'
	OpQuit      = 'Q'
	OpList      = 'L'
	OpMessage   = 'M' // a broadcast to the gateway, and a delivery from it
	OpSend      = 'S'
	OpKeepAlive = 'P'
	OpWhere     = 'W'
	OpAnswer    = 'A'
	OpError     = 'E'
)

const (
	// MaxDatagram is the largest datagram in bytes, in either direction.
	MaxDatagram = 1200
	// Version is what the answer to W gives as the protocol's version.
	Version = 1
	// MaxKey is the longest key of a K in bytes.
	MaxKey = 255
	// MaxReceivers is how many receivers an S can name.
	MaxReceivers = 255
	// DeliveryHeader is the size of a delivery without its data, in bytes.
	DeliveryHeader = 15
	// MaxListed is how many channels an answer to L can hold in a datagram.
	MaxListed = (MaxDatagram - 5) / 4
)

// What can be wrong with a frame.
var (
	ErrShort       = errors.New("wire: the frame is cut short")
	ErrTrailing    = errors.New("wire: bytes follow the frame")
	ErrUnknown     = errors.New("wire: unknown first byte")
	ErrFromGateway = errors.New("wire: a frame that only gateways send")
	ErrTooLarge    = errors.New("wire: more data than the limit")
	ErrTooMany     = errors.New("wire: more key bytes or receivers than the frame can count")
)
