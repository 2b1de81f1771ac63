package mqtt

import (
	"context"
	"encoding/json"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"watchtower/bridge"
)

// A gateway that stops in good order gives its sessions to the others: to each of those that would be
// chosen to adopt it. That one is asked to keep the session, and brings it there as if the client had
// come, with all that waits. Whoever does not answer in time leaves the session on this gateway's disk.

const (
	farewellPatience = 3 * time.Second // for all sessions
	farewellAtOnce   = 128             // sessions that are given away at a time
	keepPatience     = 2 * time.Second // of one that asks another gateway to keep a session
	claimsEvery      = time.Millisecond
)

// LeaveSessions has the broker give its sessions to other gateways when it ends. These are heard until
// Serve has returned. It is called before Serve.
func (b *Broker) LeaveSessions() { b.leaves = true }

// answer answers another gateway.
func (b *Broker) answer(asked []byte) []byte {
	q := &question{}
	if json.Unmarshal(asked, q) != nil {
		return nil
	}
	var r *reply
	switch q.Verb {
	case "take", "end":
		r = b.giveUp(q)
	case "give":
		r = b.handOver(q)
	case "more":
		b.sessions.mu.Lock()
		r = b.sessions.given[q.key()].page(q)
		b.sessions.mu.Unlock()
	case "keep":
		r = b.keep(q)
	default:
		return nil
	}
	return r.encode()
}

// keep takes a session of a gateway that stops.
func (b *Broker) keep(q *question) *reply {
	key := q.key()
	defer b.sessions.turn(key)()
	if b.quiet.Load() || b.sessions.has(key) || b.sessions.home(key) != q.By {
		return &reply{} // this one stops as well, or the client has come here or to another
	}
	ctx, done := context.WithTimeout(b.life, keepPatience)
	defer done()
	a := &arrival{
		Broker: b, ctx: ctx, home: q.By,
		q: question{Client: q.Client, User: q.User, Sender: q.Sender, By: b.hub.Peers().Slot(), At: q.At + 1}, // a client that comes is newer
	}
	taken := a.ask("take")
	if taken == nil || taken.Session == nil {
		return &reply{}
	}
	taken.Session.Claimed = a.q.At
	s, err := b.revive(taken.Session, 0, bridge.GivenUp)
	if err != nil {
		b.log.WithError(err).WithField("client", bridge.Shorten(q.Client)).Debug("a session of a gateway that stops is not kept")
		return &reply{}
	}
	if a.fetch(s, taken) != hasAll {
		a.forgo(s)
		return &reply{}
	}
	b.moved.came.Add(1)
	ss := b.sessions
	ss.mu.Lock()
	if ss.all[key] == s {
		ss.claim(s, a.q.At, bridge.Adopted)
	}
	ss.mu.Unlock()
	s.recordChanged()
	return &reply{Kept: true}
}

// bidFarewell gives the sessions of this gateway, which stops, to others.
func (b *Broker) bidFarewell() {
	all := b.lasting()
	if !b.leaves || len(all) == 0 || len(b.otherGateways()) == 0 {
		return
	}
	ctx, done := context.WithTimeout(context.Background(), farewellPatience)
	defer done()
	var kept atomic.Int64
	var givers sync.WaitGroup
	next := make(chan question, len(all))
	for _, q := range all {
		next <- q
	}
	close(next)
	for range min(farewellAtOnce, len(all)) {
		givers.Go(func() {
			for q := range next {
				if ctx.Err() == nil && b.isKept(ctx, q) {
					kept.Add(1)
				}
			}
		})
	}
	givers.Wait()
	if kept.Load() > 0 {
		b.awaitClaims()
	}
	event := b.log.WithField("kept", kept.Load()).WithField("sessions", len(all))
	if int(kept.Load()) < len(all) {
		event.Warn("not all MQTT sessions were given to other gateways: what waits in the others is there when this gateway is back")
	} else {
		event.Info("the other gateways have the MQTT sessions")
	}
}

// lasting are the sessions that outlive their connections, as questions about them.
func (b *Broker) lasting() (all []question) {
	ss := b.sessions
	ss.mu.Lock()
	defer ss.mu.Unlock()
	for _, s := range ss.all {
		if s.expiry > 0 && !s.lost {
			all = append(all, question{Verb: "keep", Client: s.key.client, User: s.key.user, Sender: s.key.sender, By: b.hub.Peers().Slot(), At: s.claimed})
		}
	}
	return all
}

// otherGateways lists the gateways that are heard.
func (b *Broker) otherGateways() (live []bridge.Slot) {
	for _, o := range b.hub.Peers().Others() {
		if o.Here {
			live = append(live, o.Slot)
		}
	}
	return live
}

// isKept asks another gateway to keep a session, and a second one if the first does not.
func (b *Broker) isKept(ctx context.Context, q question) bool {
	key := q.key()
	live := b.otherGateways()
	asked, _ := json.Marshal(q) // plain struct: cannot fail
	for range min(2, len(live)) {
		to := chosen(key.claim(), live)
		answer, err := b.hub.Peers().Points().Ask(ctx, to, asked, keepPatience)
		if err == nil {
			if r, err := decodeReply(answer); err == nil && r.Kept {
				return true
			}
		}
		if !b.sessions.has(key) { // its client has come to another, or the answer was lost
			return true
		}
		live = slices.DeleteFunc(live, func(slot bridge.Slot) bool { return slot == to })
	}
	return false
}

// awaitClaims waits until the gateways that have the sessions say so, for heardFor at most: what is
// said of them then comes before this gateway's goodbye.
func (b *Broker) awaitClaims() {
	ss := b.sessions
	claimed := func() bool {
		ss.mu.Lock()
		defer ss.mu.Unlock()
		for key, g := range ss.given {
			if _, c, is := ss.peers.Claimed(key.claim()); !is || c.At < g.at {
				return false
			}
		}
		return true
	}
	for late := time.Now().Add(heardFor); !claimed() && time.Now().Before(late); {
		time.Sleep(claimsEvery)
	}
}
