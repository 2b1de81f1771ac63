package mqtt

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"

	"watchtower/bridge/outbound"
)

// keeper writes what changed to the store, in groups, and in nobody's way: who
// changes a session or a retained message only notes that it did.
//
// What is acknowledged soon is never written: a delivery is written once it
// has waited from one group to the next. So a second at most is lost, and a
// receiver that keeps up costs the disk nothing.
type keeper struct {
	broker *Broker
	store  Store
	every  time.Duration
	log    *logrus.Logger

	lastSession atomic.Uint64

	mu      sync.Mutex
	changed []*session // each once

	// The saving goroutine's own:
	group    uint64 // the number of the next to be written
	lastBody uint64
	rows     map[string][]byte // changes that are not on disk yet, by table and key
	pending  int               // bytes of them
	taken    time.Time         // when the changes of this round were taken
	before   time.Time         // and those of the round before: what is older is on disk
	now      []delivery        // scratch
}

// savedBody is a message in the table of bodies, shared by the sessions that it
// waits for. It is the keeper's.
type savedBody struct {
	number, group uint64
	rows          int // that refer to it
}

// onDisk is the group of what the store had at the start, and firstGroup the first
// that is written after it. 0 is that of what is not on disk.
const (
	onDisk     = 1
	firstGroup = 2
)

// savedRow is a delivery in the table of queues.
type savedRow struct {
	seq, group uint64
	id         uint16
	marks      marks
	m          *message
}

func newKeeper(b *Broker, store Store, every time.Duration, log *logrus.Logger) *keeper {
	return &keeper{broker: b, store: store, every: every, log: log, group: firstGroup, rows: map[string][]byte{}}
}

// note puts a session on the list of those that changed. The caller holds its
// lock, and sees to it that it is there once.
func (k *keeper) note(s *session) {
	k.mu.Lock()
	k.changed = append(k.changed, s)
	k.mu.Unlock()
}

// run saves from time to time until ctx ends.
func (k *keeper) run(ctx context.Context) {
	t := time.NewTicker(k.every)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			k.save(false)
		}
	}
}

// groupBytes is after how much a group is written before more is encoded: what
// is being written takes memory a second time.
const groupBytes = 4 << 20

// save writes what changed since it was last called, and what could not be
// written then. At the end it writes everything. While the disk fails, what
// did not change in a group yet stays where it is.
func (k *keeper) save(atEnd bool) {
	k.before, k.taken = k.taken, time.Now()
	topics := k.broker.retained.takeChanged()
	for topic, m := range topics {
		if !k.roomForMore() {
			break
		}
		k.saveRetained(m)
		delete(topics, topic)
	}
	k.broker.retained.putBack(topics)
	k.mu.Lock()
	changed := k.changed
	k.changed = nil
	k.mu.Unlock()
	ids := k.takeReceived(changed)
	for len(changed) > 0 && k.roomForMore() {
		k.saveSession(changed[0], atEnd)
		changed = changed[1:]
	}
	if len(changed) > 0 {
		k.mu.Lock()
		k.changed = append(changed, k.changed...)
		k.mu.Unlock()
	}
	k.saveReceived(ids, len(changed) == 0)
	k.commit()
}

// roomForMore writes the group if it is large, and reports whether it was written.
func (k *keeper) roomForMore() bool { return k.pending < groupBytes || k.commit() }

// commit writes one group, and reports whether it is on disk.
func (k *keeper) commit() bool {
	if len(k.rows) == 0 {
		return true
	}
	rows := make([]Row, 0, len(k.rows))
	for key, value := range k.rows {
		rows = append(rows, Row{Table: Table(key[0]), Key: []byte(key[1:]), Value: value})
	}
	slices.SortFunc(rows, func(a, b Row) int {
		return cmp.Or(cmp.Compare(a.Table, b.Table), slices.Compare(a.Key, b.Key))
	})
	if err := k.store.Commit(rows); err != nil {
		return false // the store says so in the log; k.rows keeps them, and merges what comes
	}
	k.rows, k.pending = map[string][]byte{}, 0 // a map does not shrink
	k.group++
	if late := time.Since(k.before); !k.before.IsZero() && late > max(time.Second, 4*k.every) {
		k.log.WithField("took", late.String()).WithField("rows", len(rows)).Warn("the disk or the processor is slow: more than a second of MQTT state would have been lost with the power")
	}
	return true
}

func (k *keeper) put(t Table, key, value []byte) {
	at := string(byte(t)) + string(key)
	if was, ok := k.rows[at]; ok {
		k.pending -= len(at) + len(was)
	}
	k.rows[at] = value
	k.pending += len(at) + len(value)
}

func (k *keeper) remove(t Table, key []byte) { k.put(t, key, nil) }

// removeNumbered deletes a row whose number is never used again, and that was
// first put in that group. If the group is not on disk, nothing has to be
// deleted there: a disk that fails for a year fills no memory.
func (k *keeper) removeNumbered(t Table, key []byte, group uint64) {
	if group == k.group {
		at := string(byte(t)) + string(key)
		if was, ok := k.rows[at]; ok {
			k.pending -= len(at) + len(was)
			delete(k.rows, at)
		}
		return
	}
	k.remove(t, key)
}

func (k *keeper) saveRetained(m *message) {
	if len(m.payload) == 0 {
		k.remove(Retained, topicKey(m.topic))
		return
	}
	b, err := encodeMessage(m)
	if err != nil {
		k.log.WithError(err).WithField("topic", m.topic).Error("retained message not written")
		return
	}
	k.put(Retained, topicKey(m.topic), b)
}

// saveSession writes what changed of a session.
func (k *keeper) saveSession(s *session, atEnd bool) {
	record, stale := k.takeRecord(s)
	switch {
	case record != nil:
		if s.savedGroup == 0 {
			s.savedGroup = k.group
		}
		b, _ := json.Marshal(record) // plain struct: cannot fail
		k.put(Sessions, numberKey(s.number), b)
	case stale && s.savedGroup != 0:
		k.removeNumbered(Sessions, numberKey(s.number), s.savedGroup)
		s.savedGroup = 0
	}
	k.saveQueue(s, atEnd)
}

// takeRecord returns the session's record if it has to be written: nil if there
// is nothing to keep of it.
func (k *keeper) takeRecord(s *session) (record *sessionRecord, stale bool) {
	s.subMu.Lock()
	defer s.subMu.Unlock()
	ss := k.broker.sessions
	ss.mu.Lock()
	defer ss.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.noted = false
	if !s.stale {
		return nil, false
	}
	s.stale = false
	will, delay := s.will, time.Duration(0)
	if s.conn != nil { // it matters if the gateway ends before the client
		will, delay = s.conn.will, s.conn.willDelay
	}
	if s.ended || s.keep == 0 && will == nil {
		return nil, true
	}
	record = &sessionRecord{
		Client: s.key.client, User: s.key.user, Sender: s.sender().ID(), Named: s.key.sender != 0, Name: s.sender().Name(), Voucher: s.voucher,
		Keep: int64(s.keep / time.Second), Connected: s.conn != nil,
		Will: newWillRecord(will, delay, s.willAt),
	}
	if s.conn == nil {
		record.Until = s.until.Unix()
	}
	if s.keep > 0 {
		for _, sub := range s.subs {
			record.Subs = append(record.Subs, subscriptionRecord{sub.filter, sub.qos, sub.noLocal, sub.asIs, sub.subID})
		}
		slices.SortFunc(record.Subs, func(a, b subscriptionRecord) int { return strings.Compare(a.Filter, b.Filter) })
	}
	return record, true
}

// saveQueue makes the rows of a session's queue what waits for it now.
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
			if exact && (row.id != d.id || row.marks != d.marks&marksOnDisk) { // it was sent since, or released
				row.id, row.marks = d.id, d.marks&marksOnDisk
				k.put(Queued, numberKey(s.number, d.seq), encodeQueued(d.m.saved.number, d))
			}
			rows = append(rows, row)
			continue
		}
		if k.saveBody(d.m) {
			k.put(Queued, numberKey(s.number, d.seq), encodeQueued(d.m.saved.number, d))
			rows = append(rows, savedRow{d.seq, k.group, d.id, d.marks & marksOnDisk, d.m})
		}
	}
	for _, row := range old {
		k.removeRow(s, row)
	}
	s.savedRows = rows
	clear(waiting) // the scratch keeps no message
}

// takeQueue returns what waits for a session, and has since the last time. exact
// says that the rows have to tell what was sent, by which id: of a connected client
// that matters at QoS 2, where the id is how it knows a message again.
func (k *keeper) takeQueue(s *session, all bool) (waiting []delivery, exact bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	away := s.conn == nil
	if s.ended || !s.durable {
		return nil, away
	}
	exact = away
	waiting = k.now[:0]
	take := func(q *outbound.Fifo[delivery]) {
		for i := range q.Len() {
			d := *q.At(i)
			exact = exact || d.qos == 2 && d.id != 0
			switch {
			case d.qos == 0:
			case all || away || d.seq <= s.lastSaved || d.atOnce():
				waiting = append(waiting, d)
			default:
				s.changed(false) // young: the next time
			}
		}
	}
	take(&s.inflight)
	take(&s.queue)
	s.lastSaved = s.lastSeq
	k.now = waiting
	return waiting, exact
}

// atOnce reports whether a delivery is written however young it is: at QoS 2 once it
// was sent, and where its publisher's id says that it need not come again.
func (d *delivery) atOnce() bool {
	return d.qos == 2 && d.id != 0 || d.m.qos == 2 && d.m.origin != nil
}

// saveBody counts a row that refers to a message, which it writes with the first.
func (k *keeper) saveBody(m *message) bool {
	if m.saved.rows == 0 {
		b, err := encodeMessage(m)
		if err != nil {
			k.log.WithError(err).WithField("topic", m.topic).Error("message not written")
			return false
		}
		k.lastBody++
		m.saved.number, m.saved.group = k.lastBody, k.group
		k.put(Bodies, numberKey(m.saved.number), b)
	}
	m.saved.rows++
	return true
}

// removeRow takes a delivery off the disk, and with the last its message.
func (k *keeper) removeRow(s *session, row savedRow) {
	k.removeNumbered(Queued, numberKey(s.number, row.seq), row.group)
	if row.m.saved.rows--; row.m.saved.rows == 0 {
		k.removeNumbered(Bodies, numberKey(row.m.saved.number), row.m.saved.group)
	}
}
