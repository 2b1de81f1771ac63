package mqtt

import (
	"maps"
	"slices"

	"watchtower/bridge"
)

// A shared subscription may have clients at several gateways. Each gateway tells the others how
// many it has. The one where a message is published decides who gets it, in turn over all clients
// that are connected, and says so with the message: bridge.GroupPick. So it is handed out once,
// whatever another gateway knows. At the others the group is a subscription without a session
// in the router.

// tellGroup tells the other gateways of a subscription that begins or ends, if it is shared.
func (b *Broker) tellGroup(sub *subscription) {
	if !b.shares || !sub.shared {
		return
	}
	b.groups.mu.Lock()
	defer b.groups.mu.Unlock()
	b.tellGroupLocked(sub)
}

func (b *Broker) tellGroupLocked(sub *subscription) {
	filter := sub.filter
	now := bridge.PeerGroup{Filter: filter}
	for _, s := range b.router.sharing(sub) {
		if s.connection() != nil {
			now.Connected++
		} else {
			now.Away++
		}
	}
	was, known := b.groups.told[filter]
	gone := now.Connected+now.Away == 0
	switch {
	case was.PeerGroup == now, gone && !known:
		return
	case gone:
		delete(b.groups.told, filter)
	default:
		b.groups.told[filter] = toldGroup{now, &subscription{filter: sub.filter, topics: sub.topics}}
	}
	b.hub.Peers().TellGroup(now)
}

// tellGroups tells which clients of shared subscriptions came and went.
func (b *Broker) tellGroups() {
	if !b.shares {
		return
	}
	b.groups.mu.Lock()
	defer b.groups.mu.Unlock()
	for _, g := range b.groups.told {
		b.tellGroupLocked(g.of)
	}
}

// groupBytesMost bounds the filters in an answer of Groups.
const groupBytesMost = 256 << 10

// Groups is bridge.GroupBus's.
func (b *Broker) Groups(after string, room int) (all []bridge.PeerGroup) {
	b.groups.mu.Lock()
	defer b.groups.mu.Unlock()
	bytes := 0
	for _, filter := range slices.Sorted(maps.Keys(b.groups.told)) {
		if filter <= after {
			continue
		}
		if bytes += len(filter); len(all) == room || len(all) > 0 && bytes > groupBytesMost {
			break
		}
		all = append(all, b.groups.told[filter].PeerGroup)
	}
	return all
}

// pick decides which other gateways hand a message to clients of shared subscriptions.
func pick(r *route) (all []bridge.GroupPick) {
	for _, g := range r.groups {
		if at := g.pick(); at != 0 {
			all = append(all, bridge.GroupPick{At: at, Filter: g.filter})
		}
	}
	return all
}

// pick returns the gateway whose turn it is; 0: this one.
func (g *group) pick() bridge.Slot {
	if len(g.elsewhere) == 0 {
		return 0
	}
	here := 0
	for i := range g.targets {
		if g.targets[i].session.connection() != nil {
			here++
		}
	}
	turn := int(g.round.Add(1) - 1)
	if at, any := g.whose(turn, here, func(p *peerGroup) int { return int(p.connected.Load()) }); any {
		return at
	}
	at, _ := g.whose(turn, len(g.targets), func(p *peerGroup) int { return int(p.away.Load()) })
	return at
}

// whose returns whose turn it is among clients here and elsewhere; any is false if there are none.
func (g *group) whose(turn, here int, of func(*peerGroup) int) (at bridge.Slot, any bool) {
	all := here
	for _, p := range g.elsewhere {
		all += of(p)
	}
	if all == 0 {
		return 0, false
	}
	turn = turn % all
	if turn -= here; turn < 0 {
		return 0, true
	}
	for _, p := range g.elsewhere {
		if turn -= of(p); turn < 0 {
			return p.at, true
		}
	}
	return 0, true // they have changed meanwhile
}
