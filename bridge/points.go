package bridge

import (
	"context"
	"sync/atomic"
	"time"
)

// Serial says where a message stands in the stream of the gateway that took it: the gateway's slot
// and the message's number there. 0: it has no place, or none yet.
type Serial uint64

const serialBits = 56 // of the number

// NewSerial makes a serial.
func NewSerial(at Slot, number uint64) Serial { return Serial(at)<<serialBits | Serial(number) }

// Slot is the gateway that took the message.
func (s Serial) Slot() Slot { return Slot(s >> serialBits) }

// Number is the message's number in that gateway's stream.
func (s Serial) Number() uint64 { return uint64(s) &^ (0xff << serialBits) }

// Serial returns the message's serial. A message that was published here gets it while it is
// delivered.
func (m *Message) Serial() Serial { return Serial(atomic.LoadUint64(&m.serial)) }

// SetSerial is called once, by the Backplane.
func (m *Message) SetSerial(s Serial) { atomic.StoreUint64(&m.serial, uint64(s)) }

// Point is how far a gateway is in the stream of another, or in its own.
type Point struct {
	Slot   Slot   `json:"slot"`
	Run    uint64 `json:"run"`    // of that stream: a start of its gateway
	Before uint64 `json:"before"` // all before this number
}

// Points is what a Backplane knows of points.
type Points interface {
	// Begun returns before which numbers messages may have been delivered here; all others will
	// be. Of this gateway's own stream it is the next number.
	Begun() []Point
	// Done returns before which numbers all messages were delivered here.
	Done() []Point
	// Reach waits until all messages before some points were delivered here. It does not wait for
	// streams that are not heard here. It reports false if ctx ends before.
	Reach(ctx context.Context, points []Point) bool
	// Meet waits, soon after a start, until this gateway has heard from those that are there who
	// is where. It reports false if ctx ends before.
	Meet(ctx context.Context) bool
	// Ask asks another gateway's bus (AnswerWith), and returns its answer.
	Ask(ctx context.Context, to Slot, question []byte, patience time.Duration) ([]byte, error)
}

// Points returns the Backplane's points. There is one unless Alone.
func (p Peers) Points() Points { return p.hub.backplane }

// Here reports whether another gateway is heard.
func (p Peers) Here(at Slot) bool {
	for _, o := range p.Others() {
		if o.Slot == at {
			return o.Here
		}
	}
	return false
}

// AnswerWith sets what answers the questions of other gateways' buses, once, before the gateway
// serves. It is called in a goroutine for each, and may wait for some seconds.
func (p Peers) AnswerWith(answer func(question []byte) []byte) { p.hub.answer = answer }

// Answer answers another gateway's bus.
func (p Peers) Answer(question []byte) []byte {
	if p.hub.answer == nil {
		return nil
	}
	return p.hub.answer(question)
}
