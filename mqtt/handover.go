package mqtt

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"watchtower/bridge"
	"watchtower/ticker"
)

// A session moves to the gateway to which its client comes. That gateway asks the one that has
// it, the home, and waits for handoverPatience at most:
//
//	take  the home ends the client's connection, and tells what the session is. It goes on
//	      collecting messages for it. The asker begins to do so as well.
//	give  once the home has all that was said before that, it ends its session, and tells what
//	      waits there
//	more  the rest of that
//	end   the client wants a clean start: the home ends the session
//	keep  the home stops: the asked gateway does all that (farewell.go)
//
// Between take and give, both collect messages. By their serials the asker drops what it has twice:
// what was said before the client left the home it has already, or it waits there.
type question struct {
	Verb   string          `json:"verb"`
	Client string          `json:"client"`
	User   string          `json:"user,omitempty"`
	Sender bridge.SenderID `json:"sender,omitempty"` // 0: it has no name
	By     bridge.Slot     `json:"by"`
	At     uint64          `json:"at"` // when the client came, as in a claim
	Points []bridge.Point  `json:"points,omitempty"`
	From   int             `json:"from,omitempty"`
}

func (q *question) key() sessionKey {
	return sessionKey{sender: q.Sender, client: q.Client, user: q.User}
}

// reply has its length before it, as 4 bytes, and entries of the queue behind it.
type reply struct {
	Session *sessionRecord `json:"session,omitempty"` // to take; nil: it has none
	Given   bool           `json:"given,omitempty"`   // the rest is what waited
	Kept    bool           `json:"kept,omitempty"`    // to keep
	Live    bool           `json:"live,omitempty"`    // its client was connected there
	Newer   uint64         `json:"newer,omitempty"`   // when its client came there, if that was later
	Moved   bridge.Slot    `json:"moved,omitempty"`   // who has it now
	Points  []bridge.Point `json:"points,omitempty"`
	Entries int            `json:"entries,omitempty"` // of the whole queue
	LastID  uint16         `json:"last_id,omitempty"`
	Ids     []byte         `json:"ids,omitempty"` // as in the table of received ids
	queue   [][]byte
}

const (
	handoverPatience = 2 * time.Second // of a client, for all questions together
	askPatience      = time.Second     // for one question
	handoverBytes    = 512 << 10       // of a queue in one answer
	givenFor         = 30 * time.Second
	heardFor         = time.Second // until others surely know who has a session
)

func (r *reply) encode() []byte {
	head, _ := json.Marshal(r) // plain struct: cannot fail
	b := append(binary.BigEndian.AppendUint32(nil, uint32(len(head))), head...)
	for _, e := range r.queue {
		b = append(binary.AppendUvarint(b, uint64(len(e))), e...)
	}
	return b
}

func decodeReply(b []byte) (*reply, error) {
	if len(b) < 4 || int(binary.BigEndian.Uint32(b)) > len(b)-4 {
		return nil, errDamaged
	}
	n := 4 + int(binary.BigEndian.Uint32(b))
	r := &reply{}
	if err := json.Unmarshal(b[4:n], r); err != nil {
		return nil, err
	}
	for b = b[n:]; len(b) > 0; {
		length, n := binary.Uvarint(b)
		if n <= 0 || length > uint64(len(b)-n) {
			return nil, errDamaged
		}
		r.queue = append(r.queue, b[n:n+int(length)])
		b = b[n+int(length):]
	}
	return r, nil
}

// giveUp ends the connection of a session's client, which has come to another gateway.
func (b *Broker) giveUp(q *question) *reply {
	ss := b.sessions
	defer ss.turn(q.key())()
	live := false
	for {
		ss.mu.Lock()
		s := ss.all[q.key()]
		switch {
		case s == nil:
			ss.mu.Unlock()
			return b.whereIs(q)
		case s.claimed > q.At:
			defer ss.mu.Unlock()
			return &reply{Newer: s.claimed}
		}
		old := s.connection()
		if old == nil {
			if q.Verb == "end" || s.expiry == 0 { // 0: only its will is left
				b.endHere(s) // unlocks
				return &reply{Live: live}
			}
			s.sought = max(s.sought, q.At)
			ss.mu.Unlock()
			b.underWay.settle() // what the client has acknowledged has its number then
			return &reply{Session: s.record(ss), Live: live, Points: b.hub.Peers().Points().Begun()}
		}
		ss.mu.Unlock()
		live = true
		b.tookOverElsewhere(old)
		old.halt(packets.ErrSessionTakenOver, displacePatience)
	}
}

// endHere ends a session as a clean start does. It unlocks sessions.mu.
func (b *Broker) endHere(s *session) {
	var will *message
	if s.graced == nil { // else the client is back in time: no will
		will = s.will
	}
	s.will = nil
	b.sessions.remove(s)
	b.sessions.mu.Unlock()
	b.sendWill(s, will)
	b.discard(s)
}

// whereIs tells where a session is that is not here any more.
func (b *Broker) whereIs(q *question) *reply {
	ss := b.sessions
	ss.mu.Lock()
	g := ss.given[q.key()]
	ss.mu.Unlock()
	to := ss.home(q.key())
	if g != nil { // it may know more than the claims that were heard
		to = g.to
	}
	if to == q.By {
		to = 0
	}
	return &reply{Moved: to}
}

// handOver ends a session here, and returns what waits in it.
func (b *Broker) handOver(q *question) *reply {
	ss := b.sessions
	defer ss.turn(q.key())()
	ss.mu.Lock()
	s := ss.all[q.key()]
	switch {
	case s == nil:
		g := ss.given[q.key()]
		if g != nil && g.to == q.By && g.at == q.At { // the answer was lost
			defer ss.mu.Unlock()
			return g.page(q)
		}
		ss.mu.Unlock()
		return b.whereIs(q)
	case s.claimed > q.At || s.connection() != nil, s.sought > q.At:
		defer ss.mu.Unlock()
		return &reply{Newer: max(s.claimed, s.sought)}
	}
	ss.mu.Unlock()

	points := b.hub.Peers().Points()
	ctx, done := context.WithTimeout(context.Background(), askPatience) // also while the gateway stops
	defer done()
	points.Reach(ctx, q.Points)
	b.underWay.settle() // what has its number waits here
	g := &given{to: q.By, at: q.At, when: b.now(), points: points.Done()}
	ss.mu.Lock()
	if ss.all[q.key()] != s {
		ss.mu.Unlock()
		return &reply{}
	}
	delete(ss.all, s.key) // it is claimed until the other gateway does, so that others ask here
	delete(ss.away, s)
	waiting := s.yield(g)
	s.lost, s.will = true, nil // its client is there
	ss.mu.Unlock()
	b.underWay.settle() // what waits has its number
	for i := range waiting {
		if e := b.entry(&waiting[i]); e != nil {
			g.queue = append(g.queue, e)
			g.weight += int64(len(e))
		}
	}
	ss.mu.Lock()
	b.budget.used.Add(g.weight)
	b.forgetGiven(q.key())
	ss.given[q.key()] = g
	r := g.page(q)
	ss.mu.Unlock()
	b.moved.given.Add(1)
	b.discard(s)
	return r
}

// page returns what was given, with a part of the queue.
func (g *given) page(q *question) *reply {
	if g == nil || g.to != q.By || g.at != q.At || q.From < 0 || q.From > len(g.queue) {
		return &reply{}
	}
	r := &reply{Given: true, Points: g.points, Entries: len(g.queue), LastID: g.lastID, Ids: g.ids}
	bytes := 0
	for _, e := range g.queue[q.From:] {
		if bytes += len(e); len(r.queue) > 0 && bytes > handoverBytes {
			break
		}
		r.queue = append(r.queue, e)
	}
	return r
}

// forgetGiven forgets what was handed over. The caller holds sessions.mu.
func (b *Broker) forgetGiven(key sessionKey) {
	if g := b.sessions.given[key]; g != nil {
		b.budget.used.Add(-g.weight)
		delete(b.sessions.given, key)
	}
}

// tend forgets what other gateways have by now, and adopts sessions of those that are gone, until
// ctx ends.
func (b *Broker) tend(ctx context.Context) {
	t := ticker.New(sweepEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			t.Next()
			b.forgetTaken(b.now())
			b.adoptFree(ctx)
		}
	}
}

func (b *Broker) forgetTaken(now time.Time) {
	ss := b.sessions
	ss.mu.Lock()
	defer ss.mu.Unlock()
	for key, g := range ss.given {
		_, c, claimed := ss.peers.Claimed(key.claim())
		taken := claimed && c.At >= g.at
		if !taken && now.Sub(g.when) > givenFor && ss.all[key] == nil {
			ss.unclaim(key)
			taken = true
		}
		if taken {
			b.forgetGiven(key)
		}
	}
}

// lostTo ends a session that another gateway has, because its client came there later.
func (b *Broker) lostTo(s *session, by bridge.Claim) {
	ss := b.sessions
	mine := func() bool { return ss.all[s.key] == s && s.claimed <= by.At } // else its client is back here
	ss.mu.Lock()
	if !mine() {
		ss.mu.Unlock()
		return
	}
	s.lost = true
	c := s.connection()
	ss.mu.Unlock()
	if c != nil {
		b.hub.Counters().TookOver()
		c.halt(packets.ErrSessionTakenOver, displacePatience)
	}
	ss.mu.Lock()
	if !mine() {
		ss.mu.Unlock()
		return
	}
	s.will = nil
	ss.remove(s)
	ss.mu.Unlock()
	b.discard(s)
}

// yield ends a session whose client has come to another gateway. It returns what waits, that in
// flight first.
func (s *session) yield(g *given) (waiting []delivery) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g.lastID = s.lastID
	if s.received != nil {
		g.ids = s.received.row()
	}
	s.closeLocked(func(d *delivery) { waiting = append(waiting, *d) })
	return waiting
}

// entry encodes a delivery that waits: its message's serial (8 bytes), the row of the queue with its
// length before it (a byte), and the row of the message.
func (b *Broker) entry(d *delivery) []byte {
	row := encodeQueued(0, d)
	body, err := encodeMessage(d.m)
	if err != nil || len(row) > 255 {
		b.hub.Counters().Drop(Protocol, bridge.Failed, 1)
		return nil
	}
	e := binary.BigEndian.AppendUint64(nil, uint64(d.m.where()))
	return append(append(append(e, byte(len(row))), row...), body...)
}

// tookOverElsewhere counts a takeover by another gateway, and logs it like one here.
func (b *Broker) tookOverElsewhere(old *conn) {
	b.hub.Counters().TookOver()
	now := b.now()
	if now.Sub(old.tookOver) < rivalry && b.noisy.Allow(old.clientID, "rivals", now) {
		old.logged().Warn("a client id is taken over again and again, by another gateway too: two programs seem to have it, give each its own")
	}
}
