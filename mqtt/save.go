package mqtt

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"watchtower/bridge/outbound"
	"watchtower/ticker"
)

// run saves from time to time until ctx ends. While nothing changes, it waits.
func (k *keeper) run(ctx context.Context) {
	for k.awaitChange(ctx) {
		k.taken = time.Time{} // the rounds before were left out, they were not late
		k.saveWhileChanging(ctx)
	}
	k.taken = time.Time{} // nor is the last one late
}

// awaitChange waits for a change, and reports false once ctx has ended.
func (k *keeper) awaitChange(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return false
	case <-k.changes.noted:
		return true
	}
}

// saveWhileChanging saves until a round finds nothing to do, or ctx ends.
func (k *keeper) saveWhileChanging(ctx context.Context) {
	t := ticker.New(k.every)
	defer t.Stop()
	for more := true; more; {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		t.Next()
		k.save(false)
		select {
		case <-k.changes.noted:
		default:
			more = len(k.rows) > 0 || k.retained.replica != nil // the space's stamps go on
		}
	}
}

// save writes the changes since it was last called, and those that could not be written
// then. With atEnd it writes young deliveries too. While the disk fails, changes that are
// not encoded yet stay noted.
func (k *keeper) save(atEnd bool) {
	k.before, k.taken = k.taken, time.Now()
	topics := k.retained.takeChanged()
	for topic, m := range topics {
		if !k.roomForMore() {
			break
		}
		k.saveRetained(m)
		delete(topics, topic)
	}
	k.retained.returnChanged(topics)
	if k.retained.replica != nil {
		if row := k.retained.inStepRow(); row != nil {
			k.set(Stamps, inStepKey, row)
		}
	}
	changed := k.changes.take()
	ids := k.takeReceived(changed)
	for len(changed) > 0 && k.roomForMore() {
		k.saveSession(changed[0], atEnd)
		changed = changed[1:]
	}
	k.changes.add(changed...)
	k.saveReceived(ids, len(changed) == 0)
	k.commit()
	k.rounds.Add(1)
}

func (k *keeper) saveRetained(m *message) {
	var b []byte
	if len(m.payload) > 0 {
		var err error
		if b, err = encodeMessage(m); err != nil {
			k.log.WithError(err).WithField("topic", m.topic).Error("retained message not written")
			return
		}
	}
	k.set(Retained, topicKey(m.topic), b)
	if k.retained.replica != nil {
		k.set(Stamps, topicKey(m.topic), k.retained.stampRow(m, b))
	}
}

// saveSession writes what changed of a session.
func (k *keeper) saveSession(s *session, atEnd bool) {
	record, stale := k.takeRecord(s)
	k.share(s, record, stale)
	switch {
	case record != nil:
		if s.savedGroup == 0 {
			s.savedGroup = k.group
		}
		b, _ := json.Marshal(record) // plain struct: cannot fail
		k.set(Sessions, numberKey(s.number), b)
	case stale && s.savedGroup != 0:
		k.removeNumbered(Sessions, numberKey(s.number), s.savedGroup)
		s.savedGroup = 0
	}
	k.saveQueue(s, atEnd)
}

// takeRecord returns the session's record, and whether the one on disk is out of date; a
// nil record: there is nothing to keep.
func (k *keeper) takeRecord(s *session) (record *sessionRecord, stale bool) {
	s.subMu.Lock()
	defer s.subMu.Unlock()
	k.sessions.mu.Lock()
	defer k.sessions.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.noted = false
	if r := s.received; r != nil && r.stale && !s.ended {
		s.changed(false) // since takeReceived
	}
	if !s.stale {
		return nil, false
	}
	s.stale = false
	record = s.recordLocked()
	return record, true
}

// record is the session as it is written to disk; nil: nothing of it is.
func (s *session) record(ss *sessions) *sessionRecord {
	s.subMu.Lock()
	defer s.subMu.Unlock()
	ss.mu.Lock()
	defer ss.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.recordLocked()
}

// recordLocked is record. The caller holds all three locks.
func (s *session) recordLocked() *sessionRecord {
	will, delay := s.will, time.Duration(0)
	if s.conn != nil { // in case the gateway ends before the client
		will, delay = s.conn.will, s.conn.willDelay
	}
	if s.ended || s.expiry == 0 && will == nil {
		return nil
	}
	record := &sessionRecord{
		Client: s.key.client, User: s.key.user, Sender: s.sender().ID(), Named: s.key.sender != 0, Name: s.sender().Name(), Voucher: s.voucher,
		Expiry: int64(s.expiry / time.Second), Claimed: s.claimed, Connected: s.conn != nil,
		Will: newWillRecord(will, delay, s.willAt),
	}
	if s.conn == nil {
		record.Until = s.until.Unix()
		record.Waits = s.waitsSinceLocked().UnixMilli()
	}
	if s.expiry > 0 {
		for _, sub := range s.subs {
			record.Subs = append(record.Subs, subscriptionRecord{sub.filter, sub.qos, sub.noLocal, sub.asIs, sub.subID})
		}
		slices.SortFunc(record.Subs, func(a, b subscriptionRecord) int { return strings.Compare(a.Filter, b.Filter) })
	}
	return record
}

// waitsSinceLocked is the time of the oldest message that waits, or now. The caller holds mu.
func (s *session) waitsSinceLocked() time.Time {
	for _, q := range []*outbound.Fifo[delivery]{&s.inflight, &s.queue} {
		for i := range q.Len() {
			if m := q.At(i).m.channel; m != nil {
				return m.Time
			}
		}
	}
	return time.Now()
}

// share has the space told what changed of a session.
func (k *keeper) share(s *session, record *sessionRecord, stale bool) {
	r := k.records
	if r == nil || !stale {
		return
	}
	k.sessions.mu.Lock()
	defer k.sessions.mu.Unlock()
	switch {
	case s.lost || k.sessions.all[s.key] != s && (record != nil || k.sessions.all[s.key] != nil): // it is another gateway's, or another session
	case record != nil:
		r.note(record)
	default:
		r.noteEnd(s)
	}
}

// saveQueue makes the rows of a session's queue equal to its waiting deliveries.
func (k *keeper) saveQueue(s *session, atEnd bool) {
	waiting, exact := k.takeQueue(s, atEnd)
	old := s.savedRows
	rows := make([]savedRow, 0, len(waiting))
	for i := range waiting {
		d := &waiting[i]
		for len(old) > 0 && old[0].seq < d.seq {
			k.removeRow(s, old[0])
			old = old[1:]
		}
		if len(old) > 0 && old[0].seq == d.seq {
			row := old[0]
			old = old[1:]
			if exact && (row.id != d.id || row.marks != d.marks&marksOnDisk) { // sent or released meanwhile
				row.id, row.marks = d.id, d.marks&marksOnDisk
				k.set(Queued, numberKey(s.number, d.seq), encodeQueued(d.m.saved.number, d))
			}
			rows = append(rows, row)
			continue
		}
		if k.saveBody(d.m) {
			k.set(Queued, numberKey(s.number, d.seq), encodeQueued(d.m.saved.number, d))
			rows = append(rows, savedRow{d.seq, k.group, d.id, d.marks & marksOnDisk, d.m})
		}
	}
	for _, row := range old {
		k.removeRow(s, row)
	}
	s.savedRows = rows
	clear(waiting) // so that the scratch refers to no message
}

// takeQueue returns the deliveries of a session that have waited since the last time. exact
// says that the rows must have the current packet ids and marks: if the client is away, or
// has QoS 2 deliveries, whose ids it recognizes.
func (k *keeper) takeQueue(s *session, all bool) (waiting []delivery, exact bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	away := s.conn == nil
	if s.ended || !s.durable {
		return nil, away
	}
	exact = away
	waiting = k.scratch[:0]
	take := func(q *outbound.Fifo[delivery]) {
		for i := range q.Len() {
			d := *q.At(i)
			exact = exact || d.qos == 2 && d.id != 0
			switch {
			case d.qos == 0:
			case all || away || d.seq <= s.lastSaved || d.atOnce():
				waiting = append(waiting, d)
			default:
				s.changed(false) // too young: written the next time
			}
		}
	}
	take(&s.inflight)
	take(&s.queue)
	s.lastSaved = s.lastSeq
	k.scratch = waiting
	return waiting, exact
}

// atOnce reports whether a young delivery is written too: at QoS 2 once it is sent, and if
// a client published it at QoS 2, as the client will not send it again.
func (d *delivery) atOnce() bool {
	return d.qos == 2 && d.id != 0 || d.m.qos == 2 && d.m.origin != nil
}

// saveBody counts a row that refers to a message. The first one writes the message.
func (k *keeper) saveBody(m *message) bool {
	if m.saved.rows == 0 {
		b, err := encodeMessage(m)
		if err != nil {
			k.log.WithError(err).WithField("topic", m.topic).Error("message not written")
			return false
		}
		k.lastBody++
		m.saved.number, m.saved.group = k.lastBody, uint32(k.group)
		k.set(Bodies, numberKey(m.saved.number), b)
	}
	m.saved.rows++
	return true
}

// removeRow deletes a delivery's row, and with the last one its message's.
func (k *keeper) removeRow(s *session, row savedRow) {
	k.removeNumbered(Queued, numberKey(s.number, row.seq), row.group)
	if row.m.saved.rows--; row.m.saved.rows == 0 {
		group := uint64(onDisk)
		if row.m.saved.group == uint32(k.group) {
			group = k.group
		}
		k.removeNumbered(Bodies, numberKey(row.m.saved.number), group)
	}
}

// takeReceived returns the changed sessions' rows of received ids that must be written.
func (k *keeper) takeReceived(changed []*session) (ids map[*session][]byte) {
	for _, s := range changed {
		row, stale := s.takeReceived()
		if !stale || len(row) == 0 && !s.savedIDs {
			continue
		}
		if ids == nil {
			ids = map[*session][]byte{}
		}
		ids[s] = row
	}
	return ids
}

// saveReceived writes ids that were taken before the queues, so the queues have their
// messages. all says that all queues are written or in this group; else the ids wait.
func (k *keeper) saveReceived(ids map[*session][]byte, all bool) {
	for s, row := range ids {
		switch {
		case len(row) == 0:
			k.removeNumbered(Received, numberKey(s.number), s.idsGroup)
			s.savedIDs = false
			if s.idsGroup == k.group { // else a later removal must still delete the row on disk
				s.idsGroup = 0
			}
		case all:
			if s.idsGroup == 0 {
				s.idsGroup = k.group
			}
			s.savedIDs = true
			k.set(Received, numberKey(s.number), row)
		default:
			s.mu.Lock()
			if s.received != nil {
				s.receivedChanged()
			}
			s.mu.Unlock()
		}
	}
}
