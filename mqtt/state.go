package mqtt

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"watchtower/bridge"
)

// Store keeps the rows that outlive the process. One goroutine at a time calls it.
type Store interface {
	// Load calls each for every row: tables in the order of the constants, rows in the
	// order of their keys. The callback may keep the slices.
	Load(each func(t Table, key, value []byte) error) error
	// Commit writes all rows of a group or none, and returns when they are on disk. The
	// rows are sorted by table and key, without duplicates.
	Commit(rows []Row) error
}

// Table is one kind of row.
type Table byte

// The tables, in the order in which they are loaded. Their numbers are on disk.
const (
	Bodies   Table = 1 + iota // queued messages, by number
	Sessions                  // by number
	Queued                    // deliveries, by the numbers of session and delivery
	Retained                  // by topic
	Received                  // ids of QoS 2 publishes between PUBREC and PUBREL, by the session's number
	Stamps                    // of retained messages that other gateways share, by topic
)

// Row is a change of one row. A nil value deletes it.
type Row struct {
	Table      Table
	Key, Value []byte
}

// A message on disk: a byte of flags, its expiry (8 bytes, Unix milliseconds; 0: never),
// and its PUBLISH in MQTT 5 at QoS 1. QoS 2 sets flagQoS1 too, so that an older version
// reads it as QoS 1.
const (
	flagQoS1     = 1 << 0
	flagRetain   = 1 << 1
	flagQoS2     = 1 << 3
	messageExtra = 9
)

func encodeMessage(m *message) ([]byte, error) {
	e, err := m.build(version5, 1, nil, addsAll)
	if err != nil {
		return nil, err
	}
	b := make([]byte, messageExtra, messageExtra+len(e.b))
	if m.qos > 0 {
		b[0] |= flagQoS1
	}
	if m.qos > 1 {
		b[0] |= flagQoS2
	}
	if m.retain {
		b[0] |= flagRetain
	}
	binary.BigEndian.PutUint64(b[1:], uint64(m.expires))
	return append(b, e.b...), nil
}

// decodeMessage reads a row. The message refers to the row's bytes.
func decodeMessage(b []byte) (m *message, err error) {
	defer func() {
		if r := recover(); r != nil { // in the codec
			m, err = nil, errDamaged
		}
	}()
	if len(b) < messageExtra+2 || b[messageExtra]>>4 != packets.Publish {
		return nil, errDamaged
	}
	body := b[messageExtra+1:]
	body = body[varintLen(body):]
	pk := packets.Packet{ProtocolVersion: version5, FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: 1, Remaining: len(body)}}
	if err := pk.PublishDecode(body); err != nil {
		return nil, err
	}
	m = &message{
		topic: pk.TopicName, payload: pk.Payload, extras: carried(&pk.Properties),
		retain: b[0]&flagRetain != 0, expires: int64(binary.BigEndian.Uint64(b[1:])),
	}
	if b[0]&flagQoS1 != 0 {
		m.qos = 1
	}
	if b[0]&flagQoS2 != 0 {
		m.qos = 2
	}
	return m, nil
}

// topicKey is the key of a retained message: its topic, or the digest of a topic that is
// too long for the store.
func topicKey(topic string) []byte {
	if len(topic) <= 1024 {
		return []byte(topic)
	}
	sum := sha256.Sum256([]byte(topic))
	return append([]byte{0}, sum[:]...) // no topic has a zero byte
}

// numberKey is the key of a body or a session; with two numbers, of a queued delivery.
func numberKey(numbers ...uint64) []byte {
	var b []byte
	for _, n := range numbers {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	return b
}

// sessionRecord is a session on disk, as JSON.
type sessionRecord struct {
	Client string          `json:"client"`
	User   string          `json:"user,omitempty"`
	Sender bridge.SenderID `json:"sender"`
	Named  bool            `json:"named"`          // it belongs to a remembered sender
	Name   string          `json:"name,omitempty"` // of the sender
	// Voucher is what vouched for the sender when the session began.
	Voucher string `json:"voucher,omitempty"`
	// Expiry is how many seconds it outlives its connection; 0: only its will is kept.
	Expiry    int64                `json:"keep"`
	Until     int64                `json:"until,omitempty"` // Unix seconds
	Connected bool                 `json:"connected,omitempty"`
	Waits     int64                `json:"waits,omitempty"`   // since when its client has not acknowledged, Unix ms
	Claimed   uint64               `json:"claimed,omitempty"` // when this gateway claimed it; 0: it was alone
	Subs      []subscriptionRecord `json:"subs,omitempty"`
	Will      *willRecord          `json:"will,omitempty"`
}

type subscriptionRecord struct {
	Filter  string `json:"filter"`
	QoS     byte   `json:"qos,omitempty"`
	NoLocal bool   `json:"no_local,omitempty"`
	AsIs    bool   `json:"retain_as_published,omitempty"`
	ID      int    `json:"id,omitempty"`
}

type willRecord struct {
	Message  []byte `json:"message"` // as in the table of bodies
	QoS      byte   `json:"qos,omitempty"`
	Lifetime uint32 `json:"lifetime,omitempty"` // seconds
	Delay    int64  `json:"delay,omitempty"`    // seconds, if the client was connected
	At       int64  `json:"at,omitempty"`       // Unix seconds, if it was away
}

func newWillRecord(w *message, delay time.Duration, at time.Time) *willRecord {
	if w == nil {
		return nil
	}
	b, err := encodeMessage(w)
	if err != nil {
		return nil // cannot fail: it was decoded from a packet
	}
	r := &willRecord{Message: b, QoS: w.qos, Lifetime: w.lifetime, Delay: int64(delay / time.Second)}
	if !at.IsZero() {
		r.At = at.Unix()
	}
	return r
}

func (r *willRecord) will() (*message, error) {
	m, err := decodeMessage(r.Message)
	if err != nil {
		return nil, err
	}
	m.qos, m.lifetime = r.QoS, r.Lifetime
	return m, nil
}

func decodeSession(b []byte) (sessionRecord, error) {
	var r sessionRecord
	if err := json.Unmarshal(b, &r); err != nil {
		return r, fmt.Errorf("session: %w", err)
	}
	if r.Client == "" || r.Sender == 0 {
		return r, errDamaged
	}
	return r, nil
}

// encodeQueued makes a row of the queue: the body's number (8 bytes), the packet id
// (2 bytes; 0: not sent), a byte of flags, and subscription identifiers (varints).
func encodeQueued(body uint64, d *delivery) []byte {
	b := binary.BigEndian.AppendUint64(nil, body)
	b = binary.BigEndian.AppendUint16(b, d.id)
	flags := byte(d.marks & marksOnDisk)
	if d.qos == 2 {
		flags |= flagQoS2
	}
	b = append(b, flags)
	if d.subIDs != nil {
		for _, id := range *d.subIDs {
			b = binary.AppendUvarint(b, uint64(id))
		}
	}
	return b
}

func decodeQueued(b []byte) (body uint64, d delivery, err error) {
	if len(b) < 11 {
		return 0, d, errDamaged
	}
	body = binary.BigEndian.Uint64(b)
	d.id, d.qos = binary.BigEndian.Uint16(b[8:]), 1
	d.marks = marks(b[10]) & marksOnDisk
	if b[10]&flagQoS2 != 0 {
		d.qos = 2
	}
	if d.id == 0 {
		d.marks &^= markReleased
	}
	var ids []int
	for b = b[11:]; len(b) > 0; {
		id, n := binary.Uvarint(b)
		if n <= 0 {
			return 0, d, errDamaged
		}
		ids = append(ids, int(id))
		b = b[n:]
	}
	if ids != nil {
		d.subIDs = &ids
	}
	return body, d, nil
}
