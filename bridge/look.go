package bridge

import (
	"slices"
	"time"
)

// ChannelInfo is what an operator sees of a channel.
type ChannelInfo struct {
	Channel Channel
	Said    uint64    // messages, since the gateway knows the channel
	Last    time.Time // when the last of them was said; zero: none was
}

// Look lists every channel that has members or was spoken on not long ago, in no order.
// The hub is not held up: what comes or goes meanwhile may be missing.
func (d Directory) Look() (all []ChannelInfo) {
	h := d.hub
	now := h.now()
	steps := 0
	h.mu.RLock()
	for c, ch := range h.channels { // others may change the map whenever the lock is free
		if h.listedLocked(ch, now) {
			info := ChannelInfo{Channel: c, Said: ch.said.Load()}
			if last := ch.lastMessage.Load(); last != 0 {
				info.Last = time.UnixMilli(last)
			}
			all = append(all, info)
		}
		if steps++; steps%manageSteps == 0 {
			h.mu.RUnlock()
			h.mu.RLock()
		}
	}
	h.mu.RUnlock()
	return all
}

// MemberInfo is what an operator sees of a member of a channel.
type MemberInfo struct {
	ID      SenderID
	Name    string
	Via     []AttachmentInfo
	Gateway string // the other gateway by which it is one; empty: it is one here
}

// AttachmentInfo is one way by which a member gets what is said on a channel.
type AttachmentInfo struct {
	Protocol Protocol
	Since    time.Time // zero: not known, at another gateway
	Away     bool      // its stream has ended, and the membership lingers
}

// CountMembers returns how many members a channel has, at all gateways, and how many attachments
// make them members, by protocol. One at another gateway counts as one attachment.
func (d Directory) CountMembers(c Channel) (count int, via map[Protocol]int) {
	h := d.hub
	via = map[Protocol]int{}
	h.mu.RLock()
	defer h.mu.RUnlock()
	ch := h.knownLocked(c)
	for _, m := range h.othersLocked(ch) {
		count++
		via[m.Via[0].Protocol]++
	}
	for _, m := range ch.members {
		if !m.member() {
			continue
		}
		count++
		for _, a := range m.attachments {
			if a.Broadcasts {
				via[a.Via]++
			}
		}
	}
	return count, via
}

// LookAtMembers lists the members of a channel by their ids, ascending, from one id on: as
// many as there is room for, and where there are more the id of the next. Those at other gateways
// are among them.
func (d Directory) LookAtMembers(c Channel, from SenderID, room int) (list []MemberInfo, next SenderID) {
	h := d.hub
	h.mu.RLock()
	defer h.mu.RUnlock()
	ch := h.knownLocked(c)
	others := h.othersLocked(ch)
	var ids []SenderID
	for id, m := range ch.members {
		if id >= from && m.member() {
			ids = append(ids, id)
		}
	}
	for id := range others {
		if id >= from {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	if len(ids) > room {
		next, ids = ids[room], ids[:room]
	}
	for _, id := range ids {
		if m, elsewhere := others[id]; elsewhere {
			list = append(list, m)
			continue
		}
		m := ch.members[id]
		info := MemberInfo{ID: id, Name: m.sender.Name()}
		for _, a := range m.attachments {
			if a.Broadcasts {
				info.Via = append(info.Via, AttachmentInfo{a.Via, time.Unix(int64(a.since), 0), a.lingers != 0})
			}
		}
		list = append(list, info)
	}
	return list, next
}

// knownLocked returns a channel, or an empty one if nobody here has anything to do with it.
func (h *Hub) knownLocked(c Channel) *channel {
	if ch := h.channels[c]; ch != nil {
		return ch
	}
	return &channel{id: c}
}

// othersLocked returns a channel's members at other gateways that are none here.
func (h *Hub) othersLocked(ch *channel) (others map[SenderID]MemberInfo) {
	for _, p := range h.peers {
		for id, m := range p.channels[ch.id] {
			if here := ch.members[id]; !m.Broadcasts || here != nil && here.member() {
				continue
			}
			if others == nil {
				others = map[SenderID]MemberInfo{}
			}
			others[id] = MemberInfo{ID: id, Name: m.Name, Via: []AttachmentInfo{{Protocol: m.Via}}, Gateway: p.name}
		}
	}
	return others
}
