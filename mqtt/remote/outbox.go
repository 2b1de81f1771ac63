package remote

import (
	"encoding/binary"
	"sync"
	"time"

	"watchtower/bridge"
)

// outboxBytes bounds what waits for the broker, acknowledged or not.
const outboxBytes = 8 << 20

// itemBytes is what an item takes beside its packet.
const itemBytes = 96

// keptItems is the room for items that an empty outbox keeps.
const keptItems = 4096

// askIDs are the packet ids that are not for messages.
const askIDs = 0xff00

// flyingMost bounds what is sent and not acknowledged, if the broker takes more.
const flyingMost = 1024

// holdFor is how long a message waits for a broker that is not there. After that it would come
// as a surprise.
const holdFor = 10 * time.Second

// item is a packet that waits to be sent or to be acknowledged.
type item struct {
	b       []byte
	idAt    int           // of the packet id; 0: it has none
	since   time.Duration // when it came, by the outbox's clock
	ends    time.Duration // when its message expires; 0: never
	version byte          // of MQTT, in which it is encoded; 0: any
	stays   bool          // it waits for the broker for as long as it takes
	drop    func(bridge.Reason)
}

// items holds items that stand for nothing, with memory for a packet.
var items = sync.Pool{New: func() any { return &item{} }}

// reusedBytes is the largest packet whose memory is kept for another one.
const reusedBytes = 1 << 10

// reuse gives an item back that nobody has any more.
func (it *item) reuse() {
	if cap(it.b) <= reusedBytes {
		*it = item{b: it.b[:0]}
		items.Put(it)
	}
}

// outbox holds packets in their order until they are sent, and those at QoS 1 until they are
// acknowledged. It outlives connections. It is an outbound.Source.
type outbox struct {
	now   func() time.Duration                                     // since some time: a clock that is set changes nothing here
	first func(buf []byte, version byte, largest, most int) []byte // appends what goes before messages; nil: nothing

	mu      sync.Mutex
	control []byte // packets that are no messages, of this connection
	waiting []*item
	head    int              // of waiting
	flying  map[uint16]*item // by packet id
	order   []uint16         // of flying, oldest first; some may be acknowledged
	most    int              // of flying
	moved   time.Duration    // when flying began to be, or one of it was acknowledged
	heard   bool             // the present connection acknowledged one
	bytes   int
	largest int // packet that the broker takes; 0: any
	lastID  uint16
	up      bool
	version byte          // of MQTT, in which the packets are
	room    chan struct{} // closed when there is room again; nil: nobody waits

	timedID uint16        // of the packet whose acknowledgement is timed; 0: none
	timedAt time.Duration // when it was sent
	near    bool          // the last one that was timed came within nearFor
}

func newOutbox(now func() time.Duration) *outbox {
	return &outbox{now: now, flying: map[uint16]*item{}}
}

func (o *outbox) size(it *item) int { return cap(it.b) + itemBytes }

// put adds a packet. It reports false, and adds nothing, if there is no room. Due says that something
// may be sent now: else an acknowledgement, or a new connection, makes room for it.
func (o *outbox) put(it *item) (due, ok bool) {
	it.since = o.now()
	o.mu.Lock()
	defer o.mu.Unlock()
	n := o.size(it)
	if o.bytes > 0 && o.bytes+n > outboxBytes {
		return false, false
	}
	o.waiting = append(o.waiting, it)
	o.bytes += n
	return o.dueLocked(o.most - 1), true
}

// waitRoom returns a channel that is closed when there may be room.
func (o *outbox) waitRoom() <-chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.room == nil {
		o.room = make(chan struct{})
	}
	return o.room
}

func (o *outbox) freeLocked(it *item) {
	o.bytes -= o.size(it)
	if o.room != nil && o.bytes < outboxBytes/2 {
		close(o.room)
		o.room = nil
	}
}

// fillBytes is how much Fill takes at once. firstBytes is how much of it goes before messages.
const (
	fillBytes  = 64 << 10
	firstBytes = fillBytes / 2
)

// Fill is outbound.Source's.
func (o *outbox) Fill(buf []byte) []byte {
	o.mu.Lock()
	buf = append(buf, o.control...)
	o.control = o.control[:0]
	up, version, largest := o.up, o.version, o.largest
	o.mu.Unlock()
	if !up {
		return buf
	}
	if o.first != nil {
		buf = o.first(buf, version, largest, firstBytes)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	now := o.now()
	for o.head < len(o.waiting) && len(buf) < fillBytes {
		it := o.waiting[o.head]
		why, late := it.late(now)
		if it.version != 0 && it.version != o.version {
			why, late = bridge.Disconnected, true
		}
		if o.largest > 0 && len(it.b) > o.largest {
			why, late = bridge.TooLarge, true
		}
		if late {
			o.popLocked()
			o.freeLocked(it)
			it.drop(why)
			continue
		}
		if it.idAt > 0 {
			if len(o.flying) >= o.most {
				break
			}
			o.flyLocked(it, now)
			buf = append(buf, it.b...)
			o.popLocked()
			continue
		}
		buf = append(buf, it.b...)
		o.popLocked()
		o.freeLocked(it)
		it.reuse()
	}
	return buf
}

// late reports whether a message is not to be sent any more.
func (it *item) late(now time.Duration) (bridge.Reason, bool) {
	switch {
	case it.ends != 0 && now >= it.ends:
		return bridge.Expired, true
	case !it.stays && now-it.since > holdFor:
		return bridge.Disconnected, true
	}
	return 0, false
}

func (o *outbox) popLocked() {
	o.waiting[o.head] = nil
	if o.head++; o.head == len(o.waiting) {
		o.waiting, o.head = o.waiting[:0], 0
		if cap(o.waiting) > keptItems { // of an outage
			o.waiting = nil
		}
	} else if o.head > 1024 && o.head*2 > len(o.waiting) {
		n := copy(o.waiting, o.waiting[o.head:])
		clear(o.waiting[n:])
		o.waiting, o.head = o.waiting[:n], 0
	}
}

// begin makes the outbox send to a new connection, which takes so many unacknowledged packets of
// such a size at most; 0: of any.
// What was not acknowledged on the earlier one is sent again first, if it is not too old: as a
// repetition if the broker kept the session.
func (o *outbox) begin(most, largest int, version byte, present bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if version != o.version {
		o.version = version
		o.clearLocked()
	}
	o.most, o.largest, o.up, o.heard, o.control = most, largest, false, false, nil
	o.timedID, o.near = 0, false
	var again []*item
	for _, id := range o.order {
		it := o.flying[id]
		if it == nil {
			continue
		}
		delete(o.flying, id)
		if why, late := it.late(o.now()); late {
			o.freeLocked(it)
			it.drop(why)
			continue
		}
		if present {
			it.b[0] |= 8 // DUP
		} else {
			binary.BigEndian.PutUint16(it.b[it.idAt:], 0)
			it.b[0] &^= 8
		}
		again = append(again, it)
	}
	o.order = o.order[:0]
	o.waiting, o.head = append(again, o.waiting[o.head:]...), 0
}

// open has the messages sent, not only what is no message.
func (o *outbox) open() {
	o.mu.Lock()
	o.up = true
	o.mu.Unlock()
}

// controlBytes bounds the packets that are no messages: a broker that asks without reading the
// answers is left.
const controlBytes = 1 << 20

// direct adds a packet that is no message. It goes before all messages.
func (o *outbox) direct(b []byte) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.control) > controlBytes {
		return false
	}
	o.control = append(o.control, b...)
	return true
}

// end stops the sending.
func (o *outbox) end() {
	o.mu.Lock()
	o.up = false
	o.mu.Unlock()
}

// expire drops what waits for too long, while there is no connection.
func (o *outbox) expire() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.up {
		return
	}
	now := o.now()
	kept := o.waiting[:0]
	for _, it := range o.waiting[o.head:] {
		if why, late := it.late(now); late {
			o.freeLocked(it)
			it.drop(why)
			continue
		}
		kept = append(kept, it)
	}
	clear(o.waiting[len(kept):])
	o.waiting, o.head = kept, 0
}

// idle reports whether nothing waits.
func (o *outbox) idle() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.head == len(o.waiting) && len(o.flying) == 0
}

// clear drops all, at the end.
func (o *outbox) clear() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.up = false
	o.clearLocked()
}

func (o *outbox) clearLocked() {
	for _, it := range o.waiting[o.head:] {
		it.drop(bridge.Disconnected)
	}
	for _, it := range o.flying {
		it.drop(bridge.Disconnected)
	}
	o.waiting, o.head, o.flying, o.order, o.bytes = nil, 0, map[uint16]*item{}, nil, 0
}
