package mqtt

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"watchtower/bridge"
)

// arrival brings a session here whose client has come from another gateway.
type arrival struct {
	*Broker
	ctx  context.Context // of the client's patience
	q    question
	home bridge.Slot
	who  identity
	conn *conn
}

// arrive brings the session of a key here, if another gateway has it. It returns nil if there is
// nothing to bring. A code says that the client is back at the other gateway. The caller
// has the key's turn.
func (b *Broker) arrive(c *conn, who identity, clean bool) (*session, packets.Code) {
	if !b.shares || b.sessions.has(who.key) {
		return nil, packets.Code{}
	}
	ctx, done := context.WithTimeout(b.life, handoverPatience)
	defer done()
	b.hub.Peers().Points().Meet(ctx)
	home := b.awaitHome(ctx, who.key)
	if home == 0 {
		b.adoptFor(who.key)
		return nil, packets.Code{}
	}
	own, _ := b.hub.Peers().Own()
	a := &arrival{
		Broker: b, ctx: ctx, home: home, who: who, conn: c,
		q: question{Client: who.key.client, User: who.key.user, Sender: who.key.sender, By: own.Slot, At: b.hub.Peers().Tick(0)},
	}
	verb := "take"
	if clean {
		verb = "end"
	}
	r := a.find(verb)
	if r == nil {
		return nil, packets.Code{}
	}
	if r.Live {
		c.tookOver = b.now()
	}
	if r.Session == nil || clean {
		return nil, packets.Code{}
	}
	return a.bring(r)
}

// awaitHome is the gateway that has the session of a key, or knows who has it; 0: none has. If none claims
// it, the claim may not have come yet: the one that had it last, as far as the space knows, tells. If that
// one has just said goodbye, another may be about to say that it has it now.
func (b *Broker) awaitHome(ctx context.Context, key sessionKey) (home bridge.Slot) {
	for {
		if home = b.sessions.home(key); home != 0 {
			return home
		}
		row, known := b.records.get(key.claim())
		switch {
		case known && b.hub.Peers().Here(row.home):
			return row.home
		case !known || !b.hasJustLeft(row.home):
			return 0
		}
		select {
		case <-ctx.Done():
			return 0
		case <-time.After(askAgain):
		}
	}
}

// hasJustLeft reports whether a gateway said goodbye a moment ago.
func (b *Broker) hasJustLeft(slot bridge.Slot) bool {
	for _, o := range b.hub.Peers().Others() {
		if o.Slot == slot {
			return !o.Here && time.Since(o.Heard) < heardFor
		}
	}
	return false
}

// adoptFor adopts the session of a key, if it was at a gateway that is gone.
func (b *Broker) adoptFor(key sessionKey) {
	claim := key.claim()
	row, known := b.records.get(claim)
	if !known || row.refused || row.home == b.records.own || b.hub.Peers().Here(row.home) {
		return
	}
	var record spaceRecord
	if json.Unmarshal(row.data, &record) == nil {
		b.adopt(claim, row.home, &record.Session)
	}
}

// movesMost bounds how often a session may move on while it is looked for.
const movesMost = 16

// find asks the home; and if the session has moved on, whoever has it then. Nil: nobody answers.
func (a *arrival) find(verb string) *reply {
	for range movesMost {
		r := a.ask(verb)
		switch {
		case r == nil:
			return nil
		case r.Newer != 0: // the home has answered its client while this one was here already
			a.q.At = a.hub.Peers().Tick(r.Newer)
		case r.Moved == 0 || r.Moved == a.q.By:
			return r
		default:
			a.home = r.Moved
		}
	}
	return nil
}

const askAgain = 20 * time.Millisecond // after an error that came at once

// ask asks the home until it answers. Nil: it does not.
func (a *arrival) ask(verb string) *reply {
	a.q.Verb = verb
	asked, _ := json.Marshal(a.q) // plain struct: cannot fail
	for a.ctx.Err() == nil && a.hub.Peers().Here(a.home) {
		b, err := a.hub.Peers().Points().Ask(a.ctx, a.home, asked, askPatience)
		if err == nil {
			if r, err := decodeReply(b); err == nil {
				return r
			}
		}
		select {
		case <-a.ctx.Done():
		case <-time.After(askAgain):
		}
	}
	return nil
}

// bring makes the session here, and fetches what waits at home.
func (a *arrival) bring(taken *reply) (*session, packets.Code) {
	s := a.newSession(a.who, 0)
	s.expiry = min(time.Duration(taken.Session.Expiry)*time.Second, a.opts.SessionExpiry)
	s.until = a.now().Add(s.expiry)
	s.durable = true
	a.sessions.mu.Lock()
	a.sessions.all[s.key] = s
	a.sessions.mu.Unlock()
	a.resubscribe(s, taken.Session.Subs)
	switch a.fetch(s, taken) {
	case isElsewhere:
		a.forgo(s)
		return nil, packets.ErrServerBusy
	case hasNothing:
		a.moved.bare.Add(1)
		a.log.WithField("client", bridge.Shorten(s.key.client)).Warn("a session comes from another gateway without what waited there")
	}
	a.moved.came.Add(1)
	return s, packets.Code{}
}

// fetched says what became of what waits at home.
type fetched uint8

const (
	hasAll      fetched = iota
	hasNothing          // the home does not answer
	isElsewhere         // its client is back there, or has come to another gateway since
)

// fetch brings what waits at home into a session here, which collects what is said meanwhile.
func (a *arrival) fetch(s *session, taken *reply) fetched {
	a.underWay.settle()                                                  // what is handed out from now on comes here, too
	a.q.Points = append(a.hub.Peers().Points().Begun(), taken.Points...) // both have all before these
	given := a.ask("give")
	switch {
	case given == nil:
		return hasNothing
	case given.Newer != 0 || given.Moved != 0:
		a.hub.Peers().Tick(given.Newer) // if the client comes again, it is newer
		return isElsewhere
	case !given.Given:
		return hasNothing
	}
	queue := given.queue
	for len(queue) < given.Entries {
		a.q.From = len(queue)
		more := a.ask("more")
		if more == nil || len(more.queue) == 0 {
			a.log.WithField("client", bridge.Shorten(s.key.client)).WithField("messages", given.Entries-len(queue)).Warn("a session comes from another gateway without all that waited there")
			s.counters.Lose(s.sender(), Protocol, bridge.Failed, given.Entries-len(queue))
			a.moved.bare.Add(1)
			break
		}
		queue = append(queue, more.queue...)
	}
	a.hub.Peers().Points().Reach(a.ctx, append(given.Points, taken.Points...)) // all that is dropped below has come
	s.fillIn(given, queue, crossing{taken.Points, a.hub.Peers().Points().Done()})
	return hasAll
}

// forgo ends a session here that another gateway has.
func (a *arrival) forgo(s *session) {
	a.sessions.mu.Lock()
	s.lost, s.will = true, nil
	a.sessions.remove(s)
	a.sessions.mu.Unlock()
	a.discard(s)
}

// crossing tells what was said before the client left its home: points of the home then, and of
// this gateway now.
type crossing struct{ left, here []bridge.Point }

// before reports whether a message was said before the client left.
func (o crossing) before(at bridge.Serial) bool {
	for _, left := range o.left {
		if left.Slot != at.Slot() || at.Number() >= left.Before {
			continue
		}
		for _, here := range o.here {
			if here.Slot == left.Slot {
				return here.Run == left.Run // else the numbers begin anew
			}
		}
	}
	return false
}

// fillIn puts what waited at home before what was collected here.
func (s *session) fillIn(r *reply, entries [][]byte, o crossing) {
	if len(r.Ids) > 0 {
		if err := s.restoreReceived(r.Ids); err != nil {
			s.received = nil
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return
	}
	collected := s.queue
	s.queue = newQueue()
	s.lastID = r.LastID
	have := map[bridge.Serial]bool{}
	for _, e := range entries {
		at, d, err := decodeEntry(e)
		if err != nil || !s.access.Load().mayRead(d.m.topic) {
			continue
		}
		have[at] = at != 0
		s.restoreDelivery(&d)
	}
	for i := range collected.Len() {
		d := *collected.At(i)
		switch at := d.m.where(); {
		case have[at] || at != 0 && o.before(at):
			s.uncount(&d)
			continue
		case at == 0:
			d.marks |= markAgain // it may have come at home, too
		}
		s.lastSeq++
		d.seq = s.lastSeq
		s.queue.Push(&d)
	}
	collected.Clear()
	s.changed(true)
}

func decodeEntry(e []byte) (at bridge.Serial, d delivery, err error) {
	if len(e) < 9 || len(e) < 9+int(e[8]) {
		return 0, d, errDamaged
	}
	n := 9 + int(e[8])
	if _, d, err = decodeQueued(e[9:n]); err != nil {
		return 0, d, err
	}
	d.m, err = decodeMessage(bytes.Clone(e[n:]))
	return bridge.Serial(binary.BigEndian.Uint64(e)), d, err
}
