package cluster

import (
	"encoding/binary"
	"errors"

	"watchtower/bridge"
)

// A frame is a head and entries. The head has the version, the origin's slot, its run, and the
// number of the first entry. An entry has a kind, the length of its body, and the body. Entries
// are numbered, but for kinds from 128 on: what they say is true only now. A kind that is not
// known is skipped, so a gateway understands the frames of a newer one.
//
//	version u8 | slot u8 | run u64 | first u64 | kind u8 | length uvarint | body | …
const (
	version   = 1
	firstAt   = 1 + 1 + 8
	headBytes = firstAt + 8
)

type kind byte

const (
	kindMessage kind = 1
	kindMember  kind = 2
	kindBye     kind = 3 // the gateway stops
	kindTopic   kind = 4 // a message on a topic of MQTT clients' own
	kindOpen    kind = 5 // a claim
	kindGroup   kind = 6 // a shared subscription
	kindLeave   kind = 7 // a sender is made to leave a channel: channel, sender uvarint
	kindReport  kind = 8 // how a message of another gateway went

	kindState kind = 128 // its name and clock, and what it has of the others
)

func (k kind) numbered() bool { return k < 128 }

// The bounds of a frame. One entry alone may have more bytes.
const (
	entriesMost = 64
	frameBytes  = 256 << 10
)

var errFrame = errors.New("cluster: not a frame of this version")

// frame is what was read of one.
type frame struct {
	slot    bridge.Slot
	run     uint64
	first   uint64
	n       uint64 // numbered entries
	entries []byte
}

// after is the number that the next frame begins with.
func (f *frame) after() uint64 { return f.first + f.n }

// readFrame checks a frame, so that each finds entries only.
func readFrame(b []byte) (f frame, err error) {
	if len(b) < headBytes || b[0] != version || b[1] == 0 {
		return f, errFrame
	}
	f.slot = bridge.Slot(b[1])
	f.run, f.first = binary.BigEndian.Uint64(b[2:]), binary.BigEndian.Uint64(b[10:])
	f.entries = b[headBytes:]
	for rest := f.entries; len(rest) > 0; {
		k, _, after, ok := readEntry(rest)
		if !ok {
			return f, errFrame
		}
		if k.numbered() {
			f.n++
		}
		rest = after
	}
	return f, nil
}

func readEntry(b []byte) (k kind, body, rest []byte, ok bool) {
	length, n := binary.Uvarint(b[1:])
	if n <= 0 || length > uint64(len(b)-1-n) {
		return 0, nil, nil, false
	}
	at := 1 + n
	return kind(b[0]), b[at : at+int(length)], b[at+int(length):], true
}

// each calls do with each entry. Those without a number get the number of the next that has one.
func (f *frame) each(do func(number uint64, k kind, body []byte)) {
	number := f.first
	for rest := f.entries; len(rest) > 0; {
		k, body, after, _ := readEntry(rest)
		do(number, k, body)
		if k.numbered() {
			number++
		}
		rest = after
	}
}

func appendHead(b []byte, slot bridge.Slot, run, first uint64) []byte {
	b = append(b, version, byte(slot))
	b = binary.BigEndian.AppendUint64(b, run)
	return binary.BigEndian.AppendUint64(b, first)
}

// cursor reads a body. After a mistake it reads zeros, and bad is true.
type cursor struct {
	b   []byte
	bad bool
}

func (c *cursor) bytes(n int) []byte {
	if n < 0 || n > len(c.b) {
		c.bad, c.b = true, nil
		return nil
	}
	some := c.b[:n:n]
	c.b = c.b[n:]
	return some
}

func (c *cursor) byte() byte {
	if one := c.bytes(1); one != nil {
		return one[0]
	}
	return 0
}

func (c *cursor) uint64() uint64 {
	if eight := c.bytes(8); eight != nil {
		return binary.BigEndian.Uint64(eight)
	}
	return 0
}

func (c *cursor) uvarint() uint64 {
	v, n := binary.Uvarint(c.b)
	if n <= 0 {
		c.bad, c.b = true, nil
		return 0
	}
	c.b = c.b[n:]
	return v
}

// number reads a number of at most 32 bits.
func (c *cursor) number() uint32 {
	v := c.uvarint()
	if v > 1<<32-1 {
		c.bad = true
		return 0
	}
	return uint32(v)
}

// text reads a short text.
func (c *cursor) text() []byte { return c.bytes(int(c.byte())) }

// long reads a text of any length.
func (c *cursor) long() []byte { return c.bytes(int(c.number())) }

func appendText(b []byte, s string) []byte {
	s = s[:min(len(s), 255)]
	return append(append(b, byte(len(s))), s...)
}

// appendLong appends a text of any length.
func appendLong[T string | []byte](b []byte, s T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func longBytes(n int) int { return uvarintBytes(uint64(n)) + n }

func uvarintBytes(v uint64) int {
	n := 1
	for ; v >= 0x80; v >>= 7 {
		n++
	}
	return n
}
