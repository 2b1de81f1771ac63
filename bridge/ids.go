package bridge

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
)

// freeIDLocked returns an id for a sender without a name. Gateways that share their channels
// give away different ids, without asking each other: each has the 2²⁴ numbers of its slot, and
// the space's key shuffles them over all 32 bits.
func (h *Hub) freeIDLocked() SenderID {
	for {
		id := RandomUint32()
		if slot := uint32(h.opts.Slot); slot > 0 {
			id = shuffled(h.opts.IDKey, slot<<24|id>>8)
		}
		if _, taken := h.senders[SenderID(id)]; id != 0 && !taken {
			return SenderID(id)
		}
	}
}

// shuffled is a permutation of the numbers of 32 bits: a Feistel network of four rounds.
func shuffled(key []byte, n uint32) uint32 {
	left, right := uint16(n>>16), uint16(n)
	for round := range byte(4) {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte{'s', round, byte(right >> 8), byte(right)})
		left, right = right, left^binary.BigEndian.Uint16(mac.Sum(nil))
	}
	return uint32(left)<<16 | uint32(right)
}
