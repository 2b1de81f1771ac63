package bridge

import (
	"encoding/binary"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"
)

// SenderID names a sender on every protocol. 0 is never a valid id.
type SenderID uint32

// Channel is a channel's number. 0 is never a valid channel.
type Channel uint32

// Type tells a broadcast from a targeted send.
type Type uint8

// The types of a message, with their values on the wire.
const (
	Broadcast Type = 0
	Send      Type = 1
)

// Notice is the type of what the gateway itself tells a channel's members: Data is its line
// of JSON. It is on no wire, and only members with Attachment.Notices get it.
const Notice Type = 2

func (t Type) String() string {
	switch t {
	case Send:
		return "send"
	case Notice:
		return "notice"
	}
	return "broadcast"
}

// Hint says what a message's bytes are meant to be. It never changes the bytes.
type Hint uint8

// The content hints, with their values on the wire.
const (
	Opaque Hint = 0
	Text   Hint = 1
	JSON   Hint = 2
)

// Message is one message on one channel, for everybody or for one receiver.
// It is shared by all who deliver it: nobody changes it, or the bytes of Data.
type Message struct {
	serial uint64 // a Serial; first, because it is read and written atomically

	ID       ulid.ULID // one per publish call: its channels and receivers share it
	Time     time.Time // when the gateway took it
	Type     Type
	Channel  Channel
	Sender   SenderID
	Name     string   // the sender's, or empty
	Receiver SenderID // of a send; 0 for a broadcast
	Hint     Hint
	Data     []byte
	Via      Protocol // the protocol that it came in by
	Hops     uint8    // callbacks it has passed through, against loops
	Wait     bool     // its publisher may be slowed down while a queue is full
	Gateway  Slot     // of the other gateway that took it; 0: this one did
	Late     bool     // another gateway's that was missed: many may come at once, so whoever publishes it waits for receivers that read

	Groups []GroupPick // who hands it to clients of shared subscriptions

	ConfirmedBy []SenderID // who said the same, in that order, on a channel with a Rule; nil elsewhere

	Expires time.Time // when it expires; zero: never

	on       *channel  // where it was delivered; nil: not yet, or too many channels are known
	order    uint64    // its number in the order in which messages were taken; 0: none
	patience time.Time // until when its publisher may wait, for all queues together
	report   *report
}

// JoinIDs returns ids in decimal, with commas between them.
func JoinIDs(ids []SenderID) string {
	var b []byte
	for i, id := range ids {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendUint(b, uint64(id), 10)
	}
	return string(b)
}

// Expired reports whether a message has waited longer than it may.
func (m *Message) Expired(now time.Time) bool { return !m.Expires.IsZero() && !now.Before(m.Expires) }

// Content is what a sender says: the bytes, and what they are meant to be.
type Content struct {
	Data []byte
	Hint Hint
	Lent bool // for Admit: the bytes will change, so the message gets a copy of them
}

// A message with a copy of a few bytes is one piece of memory with them. The sizes fill classes of Go's
// allocator, 256 and 320 bytes.
type (
	messageWith16 struct {
		Message
		room [16]byte
	}
	messageWith80 struct {
		Message
		room [80]byte
	}
)

// newMessage returns an empty message with the bytes of a content.
func newMessage(c Content) (m *Message) {
	var room []byte
	switch n := len(c.Data); {
	case !c.Lent:
		return &Message{Data: c.Data}
	case n <= len(messageWith16{}.room):
		with := new(messageWith16)
		m, room = &with.Message, with.room[:n:n]
	case n <= len(messageWith80{}.room):
		with := new(messageWith80)
		m, room = &with.Message, with.room[:n:n]
	default:
		m, room = new(Message), make([]byte, n)
	}
	copy(room, c.Data)
	m.Data = room
	return m
}

// idSource makes ULIDs that rise, also within a millisecond. They are names and no secrets, so a
// small seeded generator is good enough: it costs no system call, and one line of a processor's cache.
type idSource struct {
	mu     sync.Mutex
	random rand.PCG
	ms     uint64 // of the last one, as Unix milliseconds
	high   uint16 // its random part, the first 16 of 80 bits
	low    uint64
}

func newIDSource() *idSource {
	s := &idSource{}
	s.random.Seed(rand.Uint64(), rand.Uint64()) // the runtime's own generator is seeded by the system
	return s
}

// next returns an id for a time. Within a millisecond it is the last one plus 1 to 2³².
func (s *idSource) next(now time.Time) ulid.ULID {
	ms := uint64(now.UnixMilli())
	s.mu.Lock()
	if ms == s.ms {
		more := 1 + s.random.Uint64()>>32
		if s.low += more; s.low < more {
			s.high++
		}
	} else {
		s.ms, s.high, s.low = ms, uint16(s.random.Uint64()>>49), s.random.Uint64() // half of the room is left
	}
	high, low := s.high, s.low
	s.mu.Unlock()
	var id ulid.ULID
	binary.BigEndian.PutUint64(id[:8], ms<<16|uint64(high))
	binary.BigEndian.PutUint64(id[8:], low)
	return id
}
