package mqtt

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"watchtower/bridge"
)

// A gateway may be gone without handing its sessions over. Then another adopts them: the one to
// which the client comes, or one that is chosen for each session. It has what the space keeps of
// the session. It fills the queue from the history, and sends the will if the client does
// not come back.

const (
	freeFor   = time.Second      // of a gateway that is gone
	orphanFor = 10 * time.Second // of one that is there and does not claim it
	overlapBy = 2 * time.Second  // by which a queue that is filled from the history begins earlier
)

// LearnStay is bridge.StayKeeper's.
func (b *Broker) LearnStay(row bridge.StayRow, revision uint64) {
	var record spaceRecord
	if json.Unmarshal(row.Data, &record) != nil || record.key().claim() != row.Key {
		b.log.WithField("bytes", len(row.Data)).Error("a session of the space cannot be read: it is left out")
		return
	}
	ss := b.sessions
	r := b.records
	r.mu.Lock()
	if row.Ended {
		delete(r.known, row.Key)
	} else {
		r.known[row.Key] = &spaceRow{home: record.Home, claimed: record.Session.Claimed, data: row.Data, revision: revision}
	}
	r.mu.Unlock()
	ss.mu.Lock()
	s := ss.all[record.key()]
	if s == nil || record.Home == r.own && record.Session.Claimed == s.claimed && !row.Ended {
		ss.mu.Unlock()
		return
	}
	elsewhere := record.Session.Claimed > s.claimed || record.Session.Claimed == s.claimed && (record.Home != r.own || row.Ended)
	if !elsewhere || !s.revived { // the newer is here
		ss.mu.Unlock()
		s.recordChanged()
		return
	}
	s.lost, s.will = true, nil // while this gateway was gone, another had it
	ss.remove(s)
	ss.mu.Unlock()
	b.discard(s)
}

// StaysInStep is bridge.StayKeeper's.
func (b *Broker) StaysInStep() {
	r := b.records
	r.mu.Lock()
	r.inStep = true
	known := make(map[bridge.ClaimKey]bool, len(r.known))
	for key := range r.known {
		known[key] = true
	}
	r.mu.Unlock()
	b.sessions.mu.Lock()
	all := make([]*session, 0, len(b.sessions.all))
	for _, s := range b.sessions.all {
		if !known[s.key.claim()] {
			all = append(all, s)
		}
	}
	b.sessions.mu.Unlock()
	for _, s := range all {
		s.recordChanged()
	}
}

// FillFrom gives the broker the past: what was said on channels since a time, of sends only those to
// a sender.
func (b *Broker) FillFrom(past func(channels []bridge.Channel, to *bridge.Sender, since time.Time) []*bridge.Message) {
	b.past.Store(&past)
}

// adoptFree adopts sessions of gateways that are gone, and for which this gateway is chosen.
func (b *Broker) adoptFree(ctx context.Context) {
	r := b.records
	store, free := b.freeRows(b.now())
	for key, row := range free {
		var record spaceRecord
		if ctx.Err() != nil || json.Unmarshal(row.data, &record) != nil {
			return
		}
		mine, _ := r.row(&record.Session)
		if err := store.Adopt(ctx, mine, row.revision); err != nil {
			b.log.WithError(err).WithField("client", bridge.Shorten(record.Session.Client)).Debug("a session is not adopted")
			continue
		}
		next := b.sessions.turn(record.key())
		b.adopt(key, row.home, &record.Session)
		next()
	}
}

// freeRows returns the rows of the space that this gateway should adopt.
func (b *Broker) freeRows(now time.Time) (store bridge.StayStore, free map[bridge.ClaimKey]spaceRow) {
	r := b.records
	live := []bridge.Slot{r.own}
	for _, o := range b.hub.Peers().Others() {
		if o.Here {
			live = append(live, o.Slot)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.inStep {
		return nil, nil
	}
	for key, row := range r.known {
		_, unwritten := r.unwritten[key]
		if _, _, claimed := b.hub.Peers().Claimed(key); claimed || unwritten || row.refused || b.hub.Peers().Claiming(key) {
			row.free = time.Time{}
			continue
		}
		if row.free.IsZero() {
			row.free = now
		}
		waits := freeFor
		if slices.Contains(live, row.home) {
			waits = orphanFor
		}
		since := now.Sub(row.free)
		if since < waits || chosen(key, live) != r.own && since < waits+orphanFor {
			continue
		}
		if free == nil {
			free = map[bridge.ClaimKey]spaceRow{}
		}
		free[key] = *row
	}
	return r.store, free
}

// chosen returns the gateway that adopts a session, among those that are there: each gateway
// chooses the same (rendezvous hashing).
func chosen(key bridge.ClaimKey, live []bridge.Slot) (best bridge.Slot) {
	var most bridge.ClaimKey
	for _, slot := range live {
		score := bridge.NewClaimKey(string(key[:]), string(rune(slot)))
		if best == 0 || slices.Compare(score[:], most[:]) > 0 {
			best, most = slot, score
		}
	}
	return best
}

// adopt makes a session here that was at a gateway that is gone. The caller has the key's turn.
func (b *Broker) adopt(key bridge.ClaimKey, home bridge.Slot, record *sessionRecord) {
	event := b.log.WithField("client", bridge.Shorten(record.Client)).WithField("home", home)
	s, err := b.revive(record, 0, bridge.Adopted)
	if err != nil {
		b.records.refuse(key)
		event.WithError(err).Warn("a session of a gateway that is gone is lost")
		return
	}
	b.moved.adopted.Add(1)
	s.mu.Lock()
	s.lastID = elsewhere
	s.changed(true)
	s.mu.Unlock()
	event.WithField("messages", b.fillFromPast(s, b.waitsSince(home, record))).Debug("a session of a gateway that is gone is adopted")
}

// waitsSince is since when messages may wait for a session that is adopted.
func (b *Broker) waitsSince(home bridge.Slot, record *sessionRecord) time.Time {
	since := time.UnixMilli(record.Waits)
	if record.Connected {
		for _, o := range b.hub.Peers().Others() {
			if o.Slot == home && (record.Waits == 0 || o.Heard.Before(since)) {
				since = o.Heard
			}
		}
	}
	return since.Add(-overlapBy)
}

// fillFromPast puts what was said on a session's channels since a time before what was collected
// since it was adopted. It returns how many messages that are.
func (b *Broker) fillFromPast(s *session, since time.Time) (n int) {
	past := b.past.Load()
	if past == nil || !s.durable {
		return 0
	}
	s.subMu.Lock()
	channels := make([]bridge.Channel, 0, len(s.channels))
	for c := range s.channels {
		channels = append(channels, c)
	}
	s.subMu.Unlock()
	var missed []delivery
	for _, m := range (*past)(channels, s.sender(), since) {
		route := b.routeOf(m)
		made := &message{topic: b.topicOf(m), payload: m.Data, qos: anyQoS, channel: m, expires: expires(m)}
		for i := range route.targets {
			if t := &route.targets[i]; t.session == s {
				d := t.delivery(made)
				d.marks |= markAgain
				missed = append(missed, d)
			}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.putBefore(missed)
}

// putBefore puts deliveries before those that wait, but for those that wait already. The caller
// holds mu.
func (s *session) putBefore(missed []delivery) (n int) {
	if s.ended || len(missed) == 0 {
		return 0
	}
	collected := s.queue
	s.queue = newQueue()
	have := map[bridge.Serial]bool{}
	for i := range collected.Len() {
		have[collected.At(i).m.where()] = true
	}
	delete(have, 0)
	for i := range missed {
		if d := &missed[i]; d.qos > 0 && !have[d.m.where()] {
			s.restoreDelivery(d)
			n++
		}
	}
	for i := range collected.Len() {
		d := *collected.At(i)
		s.lastSeq++
		d.seq = s.lastSeq
		s.queue.Push(&d)
	}
	collected.Clear()
	s.changed(false)
	return n
}

// UnwrittenStays is bridge.StayKeeper's.
func (b *Broker) UnwrittenStays(most int) (some []bridge.StayRow) {
	r := b.records
	r.mu.Lock()
	defer r.mu.Unlock()
	for key, row := range r.unwritten {
		if len(some) == most {
			break
		}
		some = append(some, row)
		delete(r.unwritten, key)
	}
	return some
}

// StayNotWritten is bridge.StayKeeper's.
func (b *Broker) StayNotWritten(row bridge.StayRow) {
	r := b.records
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, newer := r.unwritten[row.Key]; !newer {
		r.unwritten[row.Key] = row
	}
}

// BeginStays is bridge.StayKeeper's.
func (b *Broker) BeginStays(store bridge.StayStore) {
	r := b.records
	r.mu.Lock()
	defer r.mu.Unlock()
	r.store, r.inStep = store, false
	clear(r.known)
}
