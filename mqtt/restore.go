package mqtt

import (
	"encoding/binary"
	"errors"

	"github.com/sirupsen/logrus"

	"watchtower/bridge"
)

// restoring is the state while the store is read, before any client connects.
type restoring struct {
	*keeper
	broker   *Broker
	bodies   map[uint64]*message
	loaded   int64 // bytes of bodies
	byNumber map[uint64]*session
	again    map[*session]bool // was connected: its deliveries may have been sent
	damaged  int
	letGo    map[string]int    // rows that exceeded a limit, by setting
	sums     map[string]uint64 // hashes of the rows of retained messages, if they are shared
}

// restore reads the store. A damaged row is logged and removed; only a store that
// cannot be read is an error.
func (b *Broker) restore() error {
	k := b.keeper
	r := &restoring{
		keeper: k, broker: b, bodies: map[uint64]*message{}, byNumber: map[uint64]*session{}, again: map[*session]bool{}, letGo: map[string]int{}, sums: map[string]uint64{},
	}
	err := k.store.Load(func(t Table, key, value []byte) error {
		if err := r.row(t, key, value); err != nil {
			var limit overLimit
			if errors.As(err, &limit) {
				r.letGo[limit.setting]++
			} else {
				r.damaged++
			}
			k.set(t, key, nil)
			k.log.WithError(err).WithFields(logrus.Fields{"table": t, "key": string(key)}).Debug("MQTT state dropped")
		}
		return nil
	})
	if err != nil {
		return err
	}
	if k.retained.replica != nil {
		k.retained.markRest()
	}
	for setting, rows := range r.letGo {
		k.log.WithField("rows", rows).Warn("MQTT state let go at the start: it is over a limit (" + setting + ")")
	}
	for s, connected := range r.again {
		if connected {
			s.lastID += elsewhere
		}
	}
	waiting := 0
	for _, m := range r.bodies {
		if m == nil {
			continue
		}
		waiting += int(m.saved.rows)
		if m.saved.rows == 0 {
			k.set(Bodies, numberKey(m.saved.number), nil)
		}
	}
	st := b.Stats()
	event := k.log.WithFields(logrus.Fields{"retained": st.Retained, "sessions": st.Sessions, "waiting": waiting})
	if r.damaged > 0 {
		event.WithField("dropped", r.damaged).Warn("MQTT state read; some of it belonged to nobody any more, or was damaged")
	} else if st.Retained+st.Sessions > 0 {
		event.Info("MQTT state read")
	}
	return nil
}

func (r *restoring) row(t Table, key, value []byte) error {
	var number uint64
	if t != Retained && t != Queued && t != Stamps {
		if len(key) != 8 {
			return errDamaged
		}
		number = binary.BigEndian.Uint64(key)
	}
	switch t {
	case Bodies:
		m, err := decodeMessage(value)
		if err != nil {
			return err
		}
		m.saved.number, r.bodies[number] = number, nil
		r.lastBody = max(r.lastBody, number)
		// A small message is kept longer: an empty queue may take it (budget.room).
		n, limit := m.bodyBytes(), r.broker.budget.limit
		if r.loaded+n > limit && (n > smallBytes || r.loaded+n > 2*limit) {
			return errQueues
		}
		r.loaded += n
		r.bodies[number] = m
	case Sessions:
		return r.session(number, value)
	case Queued:
		return r.queued(key, value)
	case Received:
		s := r.byNumber[number]
		if s == nil || !s.durable {
			return errDamaged
		}
		s.savedIDs, s.idsGroup = true, onDisk
		return s.restoreReceived(value)
	case Retained:
		m, err := decodeMessage(value)
		if err != nil {
			return err
		}
		if len(m.payload) == 0 || m.topic == "" {
			return errDamaged
		}
		if r.retained.replica != nil {
			r.sums[m.topic] = rowSum(value)
		}
		return r.retained.set(m, restored)
	case Stamps:
		if r.retained.replica != nil {
			return r.retained.restoreStamp(key, value, r.sums)
		}
		r.set(t, key, nil) // the gateway has left its space
	}
	return nil
}

// session restores a session from its record: the hold on its sender, its will, its
// subscriptions and so its memberships.
func (r *restoring) session(number uint64, value []byte) error {
	r.lastSession.Store(max(r.lastSession.Load(), number))
	record, err := decodeSession(value)
	if err != nil {
		return err
	}
	s, err := r.broker.revive(&record, number, bridge.Waiting)
	if err != nil {
		return err
	}
	s.savedGroup = onDisk
	r.byNumber[number] = s
	r.again[s] = record.Connected
	return nil
}

// queued restores a delivery: in flight if it and all before it were sent, else queued.
func (r *restoring) queued(key, value []byte) error {
	if len(key) != 16 {
		return errDamaged
	}
	s := r.byNumber[binary.BigEndian.Uint64(key)]
	number, d, err := decodeQueued(value)
	if err != nil {
		return err
	}
	var known bool
	if d.m, known = r.bodies[number]; s == nil || !known || !s.durable {
		return errDamaged
	}
	if d.m == nil {
		return errQueues
	}
	if !s.access.Load().mayRead(d.m.topic) {
		return errDenied
	}
	d.seq = binary.BigEndian.Uint64(key[8:])
	s.lastSeq, s.lastSaved = d.seq, d.seq
	if !r.broker.budget.take(s, &d, d.m.weight()) {
		return errQueues
	}
	d.m.saved.rows++
	d.m.many = d.m.saved.rows > 1
	s.savedRows = append(s.savedRows, savedRow{seq: d.seq, id: d.id, marks: d.marks & marksOnDisk, m: d.m})
	if d.id != 0 || r.again[s] {
		d.marks |= markAgain
	}
	sent := d.id != 0 && s.queue.Len() == 0
	if sent {
		s.lastID = d.id
	} else {
		d.id, d.marks = 0, d.marks&^markReleased
	}
	s.push(&d, d.m.weight())
	if sent { // it is alone in the queue
		s.send()
	}
	return nil
}
