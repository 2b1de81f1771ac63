package remote

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"watchtower/bridge"
)

// joins are the memberships of the broker's clients. Each says by itself, retained, on which
// channels it is.
type joins struct {
	bus          *Bus
	subscription *subscription

	mu      sync.Mutex
	members map[bridge.SenderID]map[bridge.Channel]*bridge.Attachment
	told    map[bridge.SenderID]bool    // those that the present connection has told
	unknown map[bridge.SenderID]waiting // of ids that are not known, or that another gateway takes: that may change
	leaves  time.Time                   // when all leave, because the broker is not back; zero: they stay
}

// waiting is the list of an id that is not known, or that another gateway takes.
type waiting struct {
	channels []bridge.Channel
	topic    string
	since    time.Time
	told     bool // it was counted
}

// unknownMost bounds the lists that wait for a registration; judgedAfter is when they count as
// forged: another gateway may know the id.
const (
	unknownMost = 1024
	judgedAfter = 3 * time.Second
)

func newJoins(b *Bus) *joins {
	j := &joins{bus: b, members: map[bridge.SenderID]map[bridge.Channel]*bridge.Attachment{}, told: map[bridge.SenderID]bool{}, unknown: map[bridge.SenderID]waiting{}}
	j.subscription = &subscription{filter: b.opts.BaseTopic + "/joins/+", qos: 1, handler: j.heard}
	return j
}

// serve looks at what waits, until ctx ends.
func (j *joins) serve(ctx context.Context) {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-t.C:
			j.look(now)
		}
	}
}

// look has those leave whose broker is not back, joins who was registered meanwhile, and judges
// the others.
func (j *joins) look(now time.Time) {
	j.mu.Lock()
	gone := !j.leaves.IsZero() && now.After(j.leaves)
	due := map[bridge.SenderID]waiting{}
	var left []*bridge.Attachment
	for id, on := range j.members {
		if !j.bus.turns.has(clientsTurn(id)) { // another gateway has it
			left = append(left, j.setAsideLocked(id, on)...)
		}
	}
	for id, w := range j.unknown {
		if _, ok := j.bus.speaker(id); ok {
			if j.bus.turns.has(clientsTurn(id)) {
				due[id] = w
				delete(j.unknown, id)
			}
		} else if !w.told && now.Sub(w.since) > judgedAfter {
			due[id] = w
			w.told = true
			j.unknown[id] = w
		}
	}
	j.mu.Unlock()
	for _, a := range left {
		j.bus.hub.Detach(a)
	}
	if gone {
		j.leaveAll()
	}
	for id, w := range due {
		if s, ok := j.bus.speaker(id); ok {
			j.set(s, w.channels, w.topic)
		} else {
			j.bus.forged(w.topic, id)
		}
	}
}

// setAsideLocked keeps a client's list, since another gateway takes what it says. It returns its
// memberships.
func (j *joins) setAsideLocked(id bridge.SenderID, on map[bridge.Channel]*bridge.Attachment) []*bridge.Attachment {
	delete(j.members, id)
	j.unknown[id] = waiting{channels: slices.Collect(maps.Keys(on)), topic: j.bus.opts.BaseTopic + "/joins/" + strconv.FormatUint(uint64(id), 10), since: time.Now()}
	return slices.Collect(maps.Values(on))
}

// away notes that the broker is not there.
func (j *joins) away() {
	j.mu.Lock()
	defer j.mu.Unlock()
	clear(j.told)
	clear(j.unknown)
	if j.leaves.IsZero() {
		j.leaves = time.Now().Add(holdFor)
	}
}

// sweep has those leave of whom a new connection has told nothing.
func (j *joins) sweep() {
	j.mu.Lock()
	j.leaves = time.Time{}
	var gone []*bridge.Attachment
	for id, on := range j.members {
		if !j.told[id] {
			for _, a := range on {
				gone = append(gone, a)
			}
			delete(j.members, id)
		}
	}
	j.mu.Unlock()
	for _, a := range gone {
		j.bus.hub.Detach(a)
	}
}

// heard takes a client's list of channels.
func (j *joins) heard(m *received) {
	b := j.bus
	if m.generation != b.control.generation.Load() {
		return // of an earlier connection
	}
	n, ok := bridge.ParseID(m.topic[strings.LastIndexByte(m.topic, '/')+1:])
	if !ok {
		b.refuse(m.topic, bridge.Malformed, "a join names no sender: the topic's last level is an id that a gateway registered")
		return
	}
	id := bridge.SenderID(n)
	if strings.HasSuffix(m.topic, "/"+probeSender) {
		return // a probe's
	}
	var channels []bridge.Channel
	if len(m.payload) > 0 {
		if err := json.Unmarshal(m.payload, &channels); err != nil {
			b.refuse(m.topic, bridge.Malformed, "a join is no JSON list of channels, such as [5,7]")
			return
		}
	}
	if most := b.opts.SenderChannels; len(channels) > most {
		b.refuse(m.topic, bridge.Limit, fmt.Sprintf("a join has %d channels, the limit is %d (limits.sender_channels)", len(channels), most))
		return
	}
	b.turns.await()
	sender, ok := b.speaker(id)
	switch {
	case ok && b.turns.mine(clientsTurn(id), false):
		j.set(sender, channels, m.topic)
	case ok:
		j.wait(id, channels, m.topic)
	case b.hub.Known(id) && len(channels) > 0:
		b.forged(m.topic, id)
	default:
		j.wait(id, channels, m.topic)
	}
}

// wait keeps the list of an id that is not known, or that another gateway takes.
func (j *joins) wait(id bridge.SenderID, channels []bridge.Channel, topic string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(channels) == 0 {
		delete(j.unknown, id)
	} else if len(j.unknown) < unknownMost || j.bus.hub.Known(id) {
		j.unknown[id] = waiting{channels: channels, topic: topic, since: time.Now()}
	}
}

// set makes these the channels of a sender.
func (j *joins) set(s *bridge.Sender, channels []bridge.Channel, topic string) {
	b := j.bus
	j.mu.Lock()
	j.told[s.ID()] = true
	delete(j.unknown, s.ID())
	on := j.members[s.ID()]
	if on == nil {
		on = map[bridge.Channel]*bridge.Attachment{}
		j.members[s.ID()] = on
	}
	wanted := map[bridge.Channel]bool{}
	for _, c := range channels {
		wanted[c] = true
	}
	var left []*bridge.Attachment
	for c, a := range on {
		if !wanted[c] {
			left = append(left, a)
			delete(on, c)
		}
	}
	var refused error
	for c := range wanted {
		if on[c] != nil {
			continue
		}
		a := &bridge.Attachment{Via: Protocol, Broadcasts: true, Sends: true, NoEcho: true, Returns: true}
		a.Ended = func() { j.ended(s.ID(), c, a) }
		if err := b.hub.Attach(s, c, a); err != nil {
			refused = err
			continue
		}
		on[c] = a
	}
	if len(on) == 0 {
		delete(j.members, s.ID())
	}
	j.mu.Unlock()
	for _, a := range left {
		b.hub.Detach(a)
	}
	b.hub.Seen(s)
	if refused != nil {
		b.refuse(topic, bridge.Refused, refused.Error())
	}
}

// ended notes that the hub ended a membership.
func (j *joins) ended(id bridge.SenderID, c bridge.Channel, a *bridge.Attachment) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if on := j.members[id]; on[c] == a {
		if delete(on, c); len(on) == 0 {
			delete(j.members, id)
		}
	}
}

// leaveAll ends all memberships. The broker tells them again when it is back.
func (j *joins) leaveAll() {
	j.mu.Lock()
	all := j.members
	j.members, j.leaves = map[bridge.SenderID]map[bridge.Channel]*bridge.Attachment{}, time.Time{}
	j.mu.Unlock()
	for _, on := range all {
		for _, a := range on {
			j.bus.hub.Detach(a)
		}
	}
}
