package bench

import (
	"bytes"
	"encoding/binary"
	"time"
)

// A message's content is printable, so that it is the same bytes in JSON and
// in a datagram. Numbers are written in letters of four bits each, a for 0 to p
// for 15, the lowest first: eight of them make a word of 32 bits.
//
//	word 0     the run, so that what another run left behind is told apart
//	word 1     the publisher in the low half, a check of all the others in the high one
//	word 2     the message's number with this publisher, from 0
//	words 3, 4 when it was sent, in nanoseconds of this process's own clock
//	the rest   the alphabet, beginning at a letter that the number decides
const headerSize = 40

// maxPublishers is how many publishers a payload can tell apart.
const maxPublishers = 1 << 12

// stamp is what a payload carries.
type stamp struct {
	run       uint32
	publisher uint16
	seq       uint32
	at        int64 // nanoseconds, by clock
}

var began = time.Now()

// clock returns the time in nanoseconds since the process began. It never goes back.
func clock() int64 { return int64(time.Since(began)) }

func (s stamp) check() uint16 {
	h := (uint64(s.run)<<32 | uint64(s.seq)) * 0x9e3779b97f4a7c15
	h ^= (uint64(s.at) ^ uint64(s.publisher)) * 0xbf58476d1ce4e5b9
	return uint16(h >> 40)
}

// letters is long enough to hold any padding as a part.
var letters = bytes.Repeat([]byte("abcdefghijklmnopqrstuvwxyz"), 60_000/26+3)

func padding(seq uint32, n int) []byte { return letters[seq%26:][:n] }

// appendPayload appends a message's content of size bytes.
func appendPayload(b []byte, s stamp, size int) []byte {
	b = appendWord(b, s.run)
	b = appendWord(b, uint32(s.publisher)|uint32(s.check())<<16)
	b = appendWord(b, s.seq)
	b = appendWord(b, uint32(s.at))
	b = appendWord(b, uint32(s.at>>32))
	return append(b, padding(s.seq, size-headerSize)...)
}

// parsePayload reads a message's content. It reports false if the content has another size
// or was changed.
func parsePayload(b []byte, size int) (s stamp, ok bool) {
	if len(b) != size {
		return s, false
	}
	run, ok0 := word(b)
	who, ok1 := word(b[8:])
	seq, ok2 := word(b[16:])
	low, ok3 := word(b[24:])
	high, ok4 := word(b[32:])
	s = stamp{run: run, publisher: uint16(who), seq: seq, at: int64(high)<<32 | int64(low)}
	ok = ok0 && ok1 && ok2 && ok3 && ok4 && uint16(who>>16) == s.check()
	return s, ok && bytes.Equal(b[headerSize:], padding(seq, size-headerSize))
}

const allA = 0x6161616161616161

// appendWord spreads 32 bits over eight letters without a loop.
func appendWord(b []byte, v uint32) []byte {
	x := uint64(v)
	x = (x | x<<16) & 0x0000ffff0000ffff
	x = (x | x<<8) & 0x00ff00ff00ff00ff
	x = (x | x<<4) & 0x0f0f0f0f0f0f0f0f
	return binary.LittleEndian.AppendUint64(b, x+allA)
}

func word(b []byte) (uint32, bool) {
	x := binary.LittleEndian.Uint64(b) - allA
	ok := x&0xf0f0f0f0f0f0f0f0 == 0
	x = (x | x>>4) & 0x00ff00ff00ff00ff
	x = (x | x>>8) & 0x0000ffff0000ffff
	x |= x >> 16
	return uint32(x), ok
}
