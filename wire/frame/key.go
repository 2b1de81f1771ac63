package frame

import (
	"crypto/pbkdf2"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/dchest/siphash"
)

// Key is what tags are made with (docs/protocol.md, "Keys").
type Key [16]byte

// Hex returns the key in hexadecimal.
func (k Key) Hex() string { return hex.EncodeToString(k[:]) }

// C returns a declaration of the key in C, for a sketch.
func (k Key) C() string {
	bytes := make([]string, len(k))
	for i, b := range k {
		bytes[i] = fmt.Sprintf("0x%02x", b)
	}
	return fmt.Sprintf("const unsigned char device_key[%d] = {%s};", len(k), strings.Join(bytes, ", "))
}

// deviceKeyRounds makes guessing a secret key from a captured frame slow.
const deviceKeyRounds = 100_000

// DeviceKey is the pre-shared key of all devices of a gateway: derived from its
// secret key, and zeros if it has none. It takes some 20 ms on a PC.
func DeviceKey(secret string) (k Key) {
	if secret == "" {
		return k
	}
	b, err := pbkdf2.Key(sha256.New, secret, []byte("watchtower-device-key"), deviceKeyRounds, len(k))
	if err != nil {
		panic(err) // only where Go is told to refuse what FIPS 140 does not approve
	}
	copy(k[:], b)
	return k
}

// SessionKey derives the key of the session that a registration began.
func (k Key) SessionKey(cnonce, cookie [8]byte, id uint32) (session Key) {
	b := make([]byte, 0, 21)
	b = append(b, 0)
	b = append(b, cnonce[:]...)
	b = append(b, cookie[:]...)
	b = binary.LittleEndian.AppendUint32(b, id)
	for i := range 2 {
		b[0] = byte(i + 1)
		binary.LittleEndian.PutUint64(session[8*i:], k.Sum(b))
	}
	return session
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
