package bridge

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
)

// Members lists who is on a channel, as the members topic and HTTP show it.
type Members struct {
	Count   int      `json:"count"`
	Members []Member `json:"members"` // by id, at most 256 of them
}

// Member is one sender on a channel.
type Member struct {
	ID   SenderID `json:"id"`
	Name string   `json:"name,omitempty"`
	Via  string   `json:"via"` // how it joined first
}

const membersListed = 256

// Members returns a channel's members. ok is false unless s is one.
func (d Directory) Members(s *Sender, c Channel) (ms Members, ok bool) {
	h := d.hub
	h.mu.RLock()
	defer h.mu.RUnlock()
	if !h.memberLocked(s, c) {
		return ms, false
	}
	return h.allMembersLocked(c), true
}

// memberLocked reports whether a sender is a member of a channel, here or at another gateway.
func (h *Hub) memberLocked(s *Sender, c Channel) bool {
	m := s.joined.get(c)
	return m != nil && m.member() || h.elsewhereLocked(s.id, c, PeerMember.isMember)
}

// allMembersLocked returns a channel's members at all gateways. Who is a member at several
// counts once.
func (h *Hub) allMembersLocked(c Channel) Members {
	ch := h.knownLocked(c)
	out := h.membersLocked(ch)
	more := h.othersLocked(ch)
	if len(more) == 0 {
		return out
	}
	all := out.Count + len(more)
	for id, m := range more {
		out.Members = append(out.Members, Member{ID: id, Name: m.Name, Via: m.Via[0].Protocol.String()})
	}
	out.cut()
	out.Count = all
	return out
}

// cut counts the members, sorts them by id, and leaves the first of them.
func (ms *Members) cut() {
	ms.Count = len(ms.Members)
	slices.SortFunc(ms.Members, func(a, b Member) int { return cmp.Compare(a.ID, b.ID) })
	ms.Members = ms.Members[:min(len(ms.Members), membersListed)]
}

// MemberIDs returns the ids of a channel's members, ascending and beginning with from: at
// most room of them, and whether there are more. ok is false unless s is a member.
func (d Directory) MemberIDs(s *Sender, c Channel, from SenderID, room int) (ids []SenderID, more, ok bool) {
	h := d.hub
	h.mu.RLock()
	if !h.memberLocked(s, c) {
		h.mu.RUnlock()
		return nil, false, false
	}
	if ch := h.channels[c]; ch != nil {
		for id, m := range ch.members {
			if id >= from && m.member() {
				ids = append(ids, id)
			}
		}
	}
	for _, p := range h.peers {
		for id, m := range p.channels[c] {
			if id >= from && m.Broadcasts {
				ids = append(ids, id)
			}
		}
	}
	h.mu.RUnlock()
	if slices.Sort(ids); h.backplane != nil {
		ids = slices.Compact(ids)
	}
	ids, more = page(ids, from, room)
	return ids, more, true
}

// page sorts all, and returns at most room elements of it, beginning with from.
func page[T cmp.Ordered](all []T, from T, room int) (some []T, more bool) {
	slices.Sort(all)
	i, _ := slices.BinarySearch(all, from)
	all = all[i:]
	return all[:min(len(all), room)], len(all) > room
}

// ChannelsFrom is a page of Channels: at most room of them, beginning with from, and
// whether there are more.
func (d Directory) ChannelsFrom(from Channel, room int) (channels []Channel, more bool) {
	h := d.hub
	return page(h.Directory().Channels(), from, room)
}

func (h *Hub) membersLocked(ch *channel) Members {
	out := Members{Members: []Member{}}
	ids := make([]SenderID, 0, len(ch.members))
	for id, m := range ch.members {
		if m.member() {
			ids = append(ids, id)
		}
	}
	out.Count = len(ids)
	slices.Sort(ids)
	for _, id := range ids[:min(len(ids), membersListed)] {
		m := ch.members[id]
		i := slices.IndexFunc(m.attachments, func(a *Attachment) bool { return a.Broadcasts })
		out.Members = append(out.Members, Member{ID: id, Name: m.sender.Name(), Via: m.attachments[i].Via.String()})
	}
	return out
}

// Counts returns how many attachments there are by protocol, over all
// channels, and how many senders are known.
func (d Directory) Counts() (attachments map[Protocol]int, senders int) {
	h := d.hub
	attachments = map[Protocol]int{}
	h.mu.RLock()
	defer h.mu.RUnlock()
	for _, p := range Protocols() {
		attachments[p] = h.attached[p]
	}
	return attachments, len(h.senders)
}

// Present reports whether a sender can hear and speak on a channel now: it is connected to the
// bus, whose clients need not join to speak; or it is a member by a connected session, a
// stream, a mailbox or a callback. A stream that has ended counts while it lingers.
func (d Directory) Present(id SenderID, c Channel) bool {
	h := d.hub
	h.mu.RLock()
	defer h.mu.RUnlock()
	if h.elsewhereLocked(id, c, PeerMember.isReachable) {
		return true
	}
	s := h.senders[id]
	if s == nil {
		return false
	}
	m := s.joined.get(c)
	for _, hold := range s.holds {
		n := hold.via.Load()
		if n == 0 || hold.away.Load() {
			continue
		}
		via := Protocol(n - 1)
		if via == h.bus.Protocol() || m != nil && m.has(func(a *Attachment) bool { return a.Via == via }) {
			return true
		}
	}
	return m != nil && m.has(func(a *Attachment) bool { return a.Returns }) // all others have holds
}

// Repeat makes Run write a channel's members topic again, changed or not.
func (d Directory) Repeat(c Channel) {
	h := d.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	h.touchLocked(c)
}

// touchLocked marks a channel: Run has to write its members topic.
func (h *Hub) touchLocked(c Channel) {
	h.dirty[c] = struct{}{}
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// OnChange has f called with channels whose members may have changed: each once a second at
// most. It is called before the first member. F waits for nothing.
func (d Directory) OnChange(f func([]Channel)) { d.hub.onChange = append(d.hub.onChange, f) }

// membersStep is for how many channels the members are read while the lock is held once.
const membersStep = 64

// publishMembers writes the members topics that changed: each once, however many changes
// there were. Changes that come meanwhile may wait for the next call.
func (h *Hub) publishMembers() {
	h.mu.RLock()
	n := len(h.dirty)
	h.mu.RUnlock()
	for ; n > 0; n -= membersStep {
		h.publishSomeMembers()
	}
}

func (h *Hub) publishSomeMembers() {
	h.mu.Lock()
	payloads := make(map[Channel][]byte, min(len(h.dirty), membersStep))
	elsewhere := map[string][]byte{}
	for c := range h.dirty {
		if len(payloads) == membersStep {
			break
		}
		delete(h.dirty, c)
		payloads[c] = nil
		h.elsewhereTopicsLocked(c, elsewhere)
		if h.opts.Space != "" {
			topic := h.tree.MembersAt(c, h.opts.Space)
			elsewhere[topic] = nil
			if all := h.allMembersLocked(c); all.Count > 0 {
				elsewhere[topic], _ = json.Marshal(all) // plain structs: cannot fail
			}
		}
		ch := h.channels[c]
		if ch == nil {
			continue
		}
		if ms := h.membersLocked(ch); ms.Count > 0 {
			payloads[c], _ = json.Marshal(ms) // plain structs: cannot fail
		} else if !h.listedLocked(ch, h.now()) {
			ch.unknown.Store(true)
			delete(h.channels, c)
		}
	}
	h.mu.Unlock()
	for _, f := range h.onChange {
		f(slices.Collect(maps.Keys(payloads)))
	}
	for c, payload := range payloads {
		elsewhere[h.tree.Members(c)] = payload
	}
	for topic, payload := range elsewhere {
		if err := h.bus.PublishRetained(topic, payload); err != nil {
			h.opts.Log.WithError(err).WithField("topic", topic).Warn("members not published")
		}
	}
}

// PublishStatus writes the gateway's retained status: online or offline.
func (h *Hub) PublishStatus(status string) error {
	return h.bus.PublishRetained(h.tree.Status(), []byte(status))
}

// Channels lists the channels that have a member, or had a message lately,
// ascending.
func (d Directory) Channels() []Channel {
	h := d.hub
	now := h.now()
	h.mu.RLock()
	out := make([]Channel, 0, len(h.channels))
	for c, ch := range h.channels {
		if h.listedLocked(ch, now) {
			out = append(out, c)
		}
	}
	h.mu.RUnlock()
	slices.Sort(out)
	return out
}
