package frame

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/dchest/siphash"
	"golang.org/x/crypto/pbkdf2"
)

// Key is what tags are made with (docs/protocol.md, "Keys").
type Key [16]byte

// Hex returns the key in hexadecimal.
func (k Key) Hex() string { return hex.EncodeToString(k[:]) }

// C returns a declaration of the key in C, for a sketch: in flash where an Arduino has it
// apart from its RAM.
func (k Key) C() string {
	bytes := make([]string, len(k))
	for i, b := range k {
		bytes[i] = fmt.Sprintf("0x%02x", b)
	}
	return fmt.Sprintf("const unsigned char device_key[%d] PROGMEM = {%s};", len(k), strings.Join(bytes, ", "))
}

// deviceKeyRounds makes guessing a secret key from a captured frame slow.
const deviceKeyRounds = 100_000

// DeviceKey is the pre-shared key of all devices of a gateway: derived from its
// secret key, and zeros if it has none. It takes some 20 ms on a PC.
func DeviceKey(secret string) (k Key) {
	if secret == "" {
		return k
	}
	copy(k[:], pbkdf2.Key([]byte(secret), []byte("watchtower-device-key"), deviceKeyRounds, len(k), sha256.New))
	return k
}

// Master is what the keys of all names are made from. Only the gateway has it.
type Master [32]byte

// Key is the key of a name. A higher generation makes another.
func (m Master) Key(generation byte, name []byte) (k Key) {
	mac := hmac.New(sha256.New, m[:])
	_, _ = mac.Write([]byte("watchtower-device\x00")) // a hash takes everything
	_, _ = mac.Write([]byte{generation})
	_, _ = mac.Write(name)
	copy(k[:], mac.Sum(nil))
	return k
}

// What session keys begin with: two for each kind of session, so that a session whose
// bodies are hidden has another key than one whose bodies are not.
const (
	forPlain  = 0x01
	forHidden = 0x11
)

// SessionKey derives the key of the session that a registration began. Of the options it
// looks at Hidden.
func (k Key) SessionKey(o Options, cnonce, cookie [8]byte, id uint32) (session Key) {
	var b [21]byte
	copy(b[1:], cnonce[:])
	copy(b[9:], cookie[:])
	binary.LittleEndian.PutUint32(b[17:], id)
	use := byte(forPlain)
	if o&Hidden != 0 {
		use = forHidden
	}
	for i := range 2 {
		b[0] = use + byte(i)
		binary.LittleEndian.PutUint64(session[8*i:], k.Sum(b[:]))
	}
	return session
}

// Mask hides the body of a whole frame, tag and all, or shows it again: the tag is the
// nonce (docs/protocol.md, "Hidden bodies"). A frame without a body stays as it is.
func (k Key) Mask(frame []byte) {
	end := len(frame) - TagSize
	if end <= HeaderSize {
		return
	}
	var in [11]byte // tag8 count2 seq1
	copy(in[:], frame[end:])
	in[10] = frame[8]
	body := frame[HeaderSize:end]
	for count := uint16(0); ; count++ {
		binary.LittleEndian.PutUint16(in[8:], count)
		mask := k.Sum(in[:])
		if len(body) <= 8 {
			for i := range body {
				body[i] ^= byte(mask >> (8 * i))
			}
			return
		}
		binary.LittleEndian.PutUint64(body, binary.LittleEndian.Uint64(body)^mask)
		body = body[8:]
	}
}

// Sum is SipHash-2-4 of b.
func (k Key) Sum(b []byte) uint64 {
	return siphash.Hash(binary.LittleEndian.Uint64(k[:8]), binary.LittleEndian.Uint64(k[8:]), b)
}

// Verify reports whether a frame's tag is right, in constant time.
func (k Key) Verify(frame []byte) bool {
	if len(frame) < Overhead {
		return false
	}
	end := len(frame) - TagSize
	var want [TagSize]byte
	binary.LittleEndian.PutUint64(want[:], k.Sum(frame[:end]))
	return subtle.ConstantTimeCompare(want[:], frame[end:]) == 1
}
