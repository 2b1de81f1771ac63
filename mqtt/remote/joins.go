package remote

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"

	"watchtower/bridge"
)

// joins are the memberships of the broker's clients. Each says by itself, retained, on which
// channels it is.
type joins struct {
	bus *Bus

	mu      sync.Mutex
	members map[bridge.SenderID]map[bridge.Channel]*bridge.Attachment
}

// heard takes a client's list of channels.
func (j *joins) heard(m *received) {
	b := j.bus
	id, ok := bridge.ParseID(m.topic[strings.LastIndexByte(m.topic, '/')+1:])
	if !ok || b.quiet.Load() {
		b.refuse(m, bridge.Malformed, "a join names no sender: the topic's last level is an id that a gateway registered")
		return
	}
	var channels []bridge.Channel
	if len(m.payload) > 0 {
		if err := json.Unmarshal(m.payload, &channels); err != nil {
			b.refuse(m, bridge.Malformed, "a join is no JSON list of channels, such as [5,7]")
			return
		}
	}
	if most := b.opts.SenderChannels; len(channels) > most {
		b.refuse(m, bridge.Limit, fmt.Sprintf("a join has %d channels, the limit is %d (limits.sender_channels)", len(channels), most))
		return
	}
	sender, ok := b.speaker(bridge.SenderID(id))
	if !ok {
		if len(channels) > 0 {
			b.forged(m, bridge.SenderID(id))
		}
		return
	}
	j.set(sender, channels, m)
}

// set makes these the channels of a sender.
func (j *joins) set(s *bridge.Sender, channels []bridge.Channel, m *received) {
	b := j.bus
	j.mu.Lock()
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
		a := &bridge.Attachment{Via: Protocol, Broadcasts: true, Sends: true, NoEcho: true}
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
		b.refuse(m, bridge.Refused, refused.Error())
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

// leaveAll ends all memberships: the broker is not there. It tells them again when it is back.
func (j *joins) leaveAll() {
	j.mu.Lock()
	all := j.members
	j.members = map[bridge.SenderID]map[bridge.Channel]*bridge.Attachment{}
	j.mu.Unlock()
	for _, on := range all {
		for _, a := range on {
			j.bus.hub.Detach(a)
		}
	}
}
