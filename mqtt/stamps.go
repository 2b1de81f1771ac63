package mqtt

import (
	"encoding/binary"
	"hash/fnv"
	"time"

	"watchtower/bridge"
)

// A row of the table of stamps is the mark of a topic: its stamp (8 bytes), its state, its publisher,
// the hash of the topic's row in the table of retained messages (8 bytes; 0: it is removed), and
// the topic. If the hash is another, the message was changed by a start of the gateway without a
// space. A removal is on disk until the space has it. One row, whose key is a zero byte, has the
// time (Unix seconds, 8 bytes) when the gateway had all of its space, and the space's name.
const stampExtra = 18

var inStepKey = []byte{0}

// notedEvery is the time between two writes of that row.
const notedEvery = time.Hour

func rowSum(row []byte) uint64 {
	h := fnv.New64a()
	_, _ = h.Write(row)
	return h.Sum64()
}

// stampRow returns the row for a change of which the other row is given; nil: there is none.
func (r *retained) stampRow(m *message, row []byte) []byte {
	r.mu.RLock()
	defer r.mu.RUnlock()
	known, ok := r.replica.marks[m.topic]
	_, waits := r.replica.unwritten[m.topic]
	b := binary.BigEndian.AppendUint64(make([]byte, 0, stampExtra+len(m.topic)), uint64(known.stamp))
	switch {
	case ok && row != nil && r.tree.get(m.topic) == m: // else a newer one is written soon
		b = binary.BigEndian.AppendUint64(append(b, byte(isHeld), byte(known.by)), rowSum(row))
	case ok && row == nil && known.state == isRemoved && waits:
		b = binary.BigEndian.AppendUint64(append(b, byte(isRemoved), byte(known.by)), 0)
	default:
		return nil
	}
	return append(b, m.topic...)
}

// inStepRow returns the row of the space, if it is to be written.
func (r *retained) inStepRow() []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.replica
	if s.inStep.IsZero() || s.inStep.Sub(s.noted) < notedEvery {
		return nil
	}
	s.noted = s.inStep
	return append(binary.BigEndian.AppendUint64(nil, uint64(s.inStep.Unix())), s.space...)
}

// restoreStamp reads a row, after the retained messages were read. Sum is the hash of a topic's row.
func (r *retained) restoreStamp(key, value []byte, sum map[string]uint64) error {
	s := r.replica
	if string(key) == string(inStepKey) && len(value) > 8 {
		s.before, s.space = time.Unix(int64(binary.BigEndian.Uint64(value)), 0), string(value[8:])
		return nil
	}
	if len(value) <= stampExtra {
		return errDamaged
	}
	m := mark{bridge.Stamp(binary.BigEndian.Uint64(value)), topicState(value[8]), publisher(value[9])}
	topic := string(value[stampExtra:])
	held := r.tree.get(topic)
	switch {
	case m.state == isRemoved && held != nil, m.state == isHeld && (held == nil || sum[topic] != binary.BigEndian.Uint64(value[10:])), m.state > isRemoved:
		return errDamaged
	case held != nil:
		topic = held.topic
	}
	s.clock.Saw(m.stamp, m.stamp.Time())
	s.set(topic, m)
	return nil
}

// markRest marks what was retained before the gateway shared it.
func (r *retained) markRest() {
	r.tree.root.until(func(m *message) bool {
		if _, known := r.replica.marks[m.topic]; !known {
			r.replica.marks[m.topic] = mark{stamp: r.replica.clock.Oldest()}
		}
		return false
	})
}
