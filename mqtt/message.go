package mqtt

import (
	"sync/atomic"
	"time"

	"watchtower/bridge"
)

// message is one publish, from the client that sent it to many sessions, which share it
// and its encodings. Nobody changes it once it is delivered.
type message struct {
	// What is read for each receiver comes first, within 96 bytes.
	topic     string
	payload   []byte
	extras    *extras                     // of a publisher that speaks MQTT 5
	expires   int64                       // Unix milliseconds; 0: never
	encodings [4]atomic.Pointer[encoding] // by version, and QoS 0 or more
	many      bool                        // it goes to more than one: encodings are kept
	qos       byte
	retain    bool   // as published
	own       bool   // it is the gateway's
	lifetime  uint32 // seconds from when it is admitted; 0: for ever

	origin  *session        // nil: the gateway
	channel *bridge.Message // nil: not on a channel
	saved   savedBody       // the keeper's
	state   atomic.Uint64   // see budget.go
	short   *message        // see inShort
}

// again is a message with the same content, which is not delivered yet.
func (m *message) again() *message {
	return &message{
		topic: m.topic, payload: m.payload, extras: m.extras, expires: m.expires,
		qos: m.qos, retain: m.retain, lifetime: m.lifetime, channel: m.channel,
	}
}

// inShort is the message on the topic that one speaks on, which does not name the
// sender: for those who subscribed to that. The publisher's goroutine alone asks.
func (m *message) inShort() *message {
	if m.short == nil {
		m.short = m.again()
		m.short.topic = bridge.ShortTopic(m.topic, m.channel.Type)
		m.short.many, m.short.origin = m.many, m.origin
	}
	return m.short
}

// weight is what a message takes of a queue's bytes.
func (m *message) weight() int { return len(m.topic) + len(m.payload) + m.extras.weight() }

func (m *message) expired(now time.Time) bool { return m.expires != 0 && now.UnixMilli() >= m.expires }

// anyQoS is the QoS of what the gateway publishes, its own or what came by another
// protocol: a delivery has the one that the client subscribed with.
const anyQoS = 2

// A message's state is how many entries hold it, whether it is retained and so
// counted there, and how many bytes it takes.
const (
	bytesMask  = 1<<40 - 1
	stateShelf = 1 << 40 // retained
	stateRef   = 1 << 41
)

// messageBytes is what a message takes besides its texts.
const messageBytes = 176

// bodyBytes is about what a message takes of memory.
func (m *message) bodyBytes() int64 {
	n := messageBytes + heapSize(m.weight())
	if m.channel != nil {
		n += 2 * messageBytes
	}
	return int64(n)
}

func (m *message) isHeld() bool { return m.state.Load() >= stateShelf }

// charged is what a state counts for in the queues.
func charged(state uint64) int64 {
	if state < stateRef || state&stateShelf != 0 {
		return 0
	}
	return int64(state & bytesMask)
}

// hold counts an entry, and returns by how much the queues grow.
func (m *message) hold() int64 {
	now := m.state.Add(stateRef)
	return charged(now) - charged(now-stateRef) + m.measure()
}

// measure puts the size into the state, once.
func (m *message) measure() int64 {
	for {
		was := m.state.Load()
		if was&bytesMask != 0 {
			return 0
		}
		now := was + uint64(m.bodyBytes())
		if m.state.CompareAndSwap(was, now) {
			return charged(now) - charged(was)
		}
	}
}

func (m *message) unhold() int64 {
	now := m.state.Add(^uint64(stateRef - 1))
	return charged(now) - charged(now+stateRef)
}

// grow counts an encoding that was made.
func (m *message) grow(n int) int64 {
	grown := m.measure()
	now := m.state.Add(uint64(n))
	return grown + charged(now) - charged(now-uint64(n))
}

// shelve says that the message is retained, and counted there; unshelve that it
// is not any more.
func (m *message) shelve() { m.state.Store(stateShelf) }

func (m *message) unshelve() int64 {
	now := m.state.And(^uint64(stateShelf)) &^ uint64(stateShelf) // And returns the old value
	return charged(now)
}

// delivery is one message in one session's queue.
type delivery struct {
	m      *message
	subIDs *[]int // shared with the route; nil: none
	seq    uint64 // at QoS 1 and 2 of a durable session: its number there
	id     uint16 // packet identifier; 0: not sent yet
	qos    byte
	marks  marks
}

// marks of a delivery are bits, because it is to have 32 bytes. Some of them are
// written to disk as they are (state.go), so their values stay.
type marks byte

const (
	markRetain   marks = 1 << 1 // sent with the retain flag
	markBacklog  marks = 1 << 2 // it was retained when the client subscribed
	markReleased marks = 1 << 4 // PUBREC came: it is PUBREL that may have to be sent again
	markShared   marks = 1 << 5 // by a shared subscription: another may get it
	markAgain    marks = 1 << 6 // it may have been sent before the gateway ended
	markHeld     marks = 1 << 7 // counted by its body (budget.go)

	marksOnDisk = markRetain | markBacklog | markReleased | markShared
)

func (d *delivery) is(m marks) bool { return d.marks&m != 0 }

// savedBody is a message in the table of bodies, shared by the sessions that it
// waits for. It is the keeper's.
type savedBody struct {
	number, group uint64
	rows          int // that refer to it
}

// savedRow is a delivery in the table of queues.
type savedRow struct {
	seq, group uint64
	id         uint16
	marks      marks
	m          *message
}

// encoding is a PUBLISH as some version and QoS has it. What differs from
// receiver to receiver is overwritten in each copy.
type encoding struct {
	b        []byte
	idAt     int // packet identifier; 0: none
	expiryAt int // message expiry interval; 0: none
}
