package mqtt

import (
	"sync/atomic"
	"time"

	"watchtower/bridge"
)

// message is one publish. Its receivers share it and its encodings. It does not change
// once it is delivered.
type message struct {
	// The fields that are read for each receiver come first, within 96 bytes.
	topic     string
	payload   []byte
	extras    *extras                     // of a publisher that speaks MQTT 5
	expires   int64                       // Unix milliseconds; 0: never
	encodings [4]atomic.Pointer[encoding] // by version, and QoS 0 or more
	many      bool                        // it has several receivers: encodings are kept
	qos       byte
	retain    bool   // as published
	own       bool   // the gateway published it; of a retained one: it is no client's
	lifetime  uint32 // seconds after it is admitted; 0: for ever

	at      int64           // Unix milliseconds when it was retained; 0: before the last start, or not retained
	origin  *session        // nil: the gateway
	channel *bridge.Message // nil: not on a channel
	saved   savedBody       // the keeper's
	state   atomic.Uint64   // see budget.go
	short   *message        // see inShort
	serial  bridge.Serial   // of a message that is on no channel; 0: this gateway shares nothing
}

// again returns a message with the same content that is not delivered yet.
func (m *message) again() *message {
	return &message{
		topic: m.topic, payload: m.payload, extras: m.extras, expires: m.expires,
		qos: m.qos, retain: m.retain, lifetime: m.lifetime, channel: m.channel,
	}
}

// inShort returns the message for subscribers of the short topic, which does not name the
// sender. Only the publisher's goroutine calls it.
func (m *message) inShort() *message {
	if m.short == nil {
		m.short = m.again()
		m.short.topic = bridge.ShortTopic(m.topic, m.channel.Type)
		m.short.many, m.short.origin = m.many, m.origin
	}
	return m.short
}

// weight is the size in bytes that counts for a session's queue.
func (m *message) weight() int                { return len(m.topic) + len(m.payload) + m.extras.weight() }
func (m *message) expired(now time.Time) bool { return m.expires != 0 && now.UnixMilli() >= m.expires }

// anyQoS is the QoS of messages from the gateway and from other protocols: the QoS of
// the subscription alone decides.
const anyQoS = 2

// A message's state: how many queue entries hold it, whether it is retained (then its
// bytes count there), and its bytes.
const (
	bytesMask  = 1<<40 - 1
	stateShelf = 1 << 40 // retained
	stateRef   = 1 << 41
)

// messageBytes is the memory of a message without its texts.
const messageBytes = 176

// bodyBytes is the memory of a message in bytes, about.
func (m *message) bodyBytes() int64 {
	n := messageBytes + heapSize(m.weight())
	if m.channel != nil {
		n += 2 * messageBytes
	}
	return int64(n)
}

func (m *message) isHeld() bool { return m.state.Load() >= stateShelf }

// charged is how many bytes a state counts for in the queues.
func charged(state uint64) int64 {
	if state < stateRef || state&stateShelf != 0 {
		return 0
	}
	return int64(state & bytesMask)
}

// hold counts a queue entry, and returns by how many bytes the queues grow.
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

// grow counts an encoding of n bytes, and returns by how many bytes the queues grow.
func (m *message) grow(n int) int64 {
	grown := m.measure()
	now := m.state.Add(uint64(n))
	return grown + charged(now) - charged(now-uint64(n))
}

// shelve marks the message as retained, and so counted there; unshelve ends that.
func (m *message) shelve() { m.state.Store(stateShelf) }

func (m *message) unshelve() int64 {
	now := m.state.And(^uint64(stateShelf)) &^ uint64(stateShelf) // And returns the old value
	return charged(now)
}

// delivery is one message in one session's queue.
type delivery struct {
	m      *message
	subIDs *[]int // shared with the route; nil: none
	seq    uint64 // its number in a durable session, at QoS 1 and 2
	id     uint16 // packet identifier; 0: not sent yet
	qos    byte
	marks  marks
}

// marks are bits, so that a delivery fits into 32 bytes. marksOnDisk are written to disk
// as they are (state.go), so their values must not change.
type marks byte

const (
	markRetain   marks = 1 << 1 // sent with the retain flag
	markBacklog  marks = 1 << 2 // the message was retained when the client subscribed
	markReleased marks = 1 << 4 // PUBREC came: PUBREL is sent again, not PUBLISH
	markShared   marks = 1 << 5 // of a shared subscription: another session may get it
	markAgain    marks = 1 << 6 // it may have been sent before the gateway's restart
	markHeld     marks = 1 << 7 // counted by its body (budget.go)

	marksOnDisk = markRetain | markBacklog | markReleased | markShared
)

func (d *delivery) is(m marks) bool { return d.marks&m != 0 }

// mayPassOn reports whether another session may get a delivery of a shared subscription once
// this session has ended. At QoS 2 no other may if it was sent: its client may have it, and
// two would process it (MQTT-4.8.2-5).
func (d *delivery) mayPassOn() bool { return d.qos == 1 || d.qos == 2 && d.id == 0 }

// savedBody is a message in the table of bodies, shared by all sessions that queue it.
// Only the keeper uses it.
type savedBody struct {
	number uint64
	group  uint32 // the lower half of its number
	rows   int32  // that refer to it
}

// savedRow is a delivery in the table of queues.
type savedRow struct {
	seq, group uint64
	id         uint16
	marks      marks
	m          *message
}

// encoding is a PUBLISH in one version and QoS. The fields that differ between receivers
// are overwritten in each copy.
type encoding struct {
	b        []byte
	idAt     int // offset of the packet identifier; 0: none
	expiryAt int // offset of the message expiry interval; 0: none
}

// where is the serial of a message.
func (m *message) where() bridge.Serial {
	if m.channel != nil {
		return m.channel.Serial()
	}
	return m.serial
}
