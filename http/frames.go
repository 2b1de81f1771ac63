package http

import (
	"encoding/binary"

	"github.com/gorilla/websocket"
)

// The first bytes of WebSocket frames (RFC 6455, section 5.2). A server's frames are not
// masked, so one encoding serves all sockets.
const (
	frameText  = 0x81
	frameClose = 0x88
	framePing  = 0x89
	framePong  = 0x8a
)

// closeExpired is the close code of a WebSocket whose token has ended (like status 401).
const closeExpired = 4401

func appendFrame(b []byte, kind byte, payload []byte) []byte {
	b = append(b, kind)
	switch n := len(payload); {
	case n < 126:
		b = append(b, byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, 126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 127), uint64(n))
	}
	return append(b, payload...)
}

func closeFrame(code int, reason string) []byte {
	return appendFrame(nil, frameClose, websocket.FormatCloseMessage(code, reason))
}
