package bridge

import (
	"cmp"

	"watchtower/bridge/outbound"
)

// Deliver hands a message from the bus to each protocol that has members for it. It only
// puts it into bounded queues, because it runs in the publisher's goroutine. R is what that
// goroutine writes soon; nil: it writes nothing. An error says that a protocol did not take the
// message.
func (h *Hub) Deliver(m *Message, r *outbound.Round) error {
	h.mu.RLock()
	ch, awaited := h.channels[m.Channel], h.backplane != nil && h.abroad[m.Channel] > 0
	h.mu.RUnlock()
	if ch == nil {
		if ch = h.newlyHeard(m.Channel); ch == nil {
			return nil
		}
	}
	m.on = ch
	ch.lastMessage.Store(m.Time.UnixMilli())
	ch.said.Add(1)
	if h.backplane != nil && m.Gateway == 0 {
		h.backplane.Say(m, awaited, r)
	}
	if m.Type == Send {
		return h.deliverSend(m, r)
	}
	h.tap(m)
	heeded := ch.heededBy()
	for p := range heeded.all() {
		ch.lists[p].missed(p, &h.counters)
	}
	return h.handAll(m, r, heeded, func(p Protocol) []*Attachment { return ch.lists[p].load() })
}

// handAll gives a message once to each link that has members for it: of those protocols, and to
// returns a protocol's.
func (h *Hub) handAll(m *Message, r *outbound.Round, of protocolSet, to func(Protocol) []*Attachment) (failed error) {
	links := h.served
	if of == 0 {
		links = h.eager
	}
	for _, l := range links {
		wanted := false
		for p := range (of & l.serves).all() {
			wanted = wanted || len(to(p)) > 0
		}
		if wanted || m.Type != Notice && l.atOnce != nil && !l.takesAtOnce(m, r) {
			failed = cmp.Or(h.hand(l, m, to(l.protocol)), failed)
		}
	}
	return failed
}

// handNotice gives a notice to the members that take notices.
func (h *Hub) handNotice(m *Message) error {
	h.mu.RLock()
	ch := h.channels[m.Channel]
	h.mu.RUnlock()
	if ch == nil {
		return nil
	}
	return h.handAll(m, nil, ch.heededBy(), func(p Protocol) (to []*Attachment) {
		for _, a := range ch.lists[p].load() {
			if a.Notices {
				to = append(to, a)
			}
		}
		return to
	})
}

// channelsMost bounds how many channels are known: so a client that publishes on many
// channels cannot fill the memory.
const channelsMost = 1 << 16

// newlyHeard returns a channel without members, which a message puts on the list. It
// returns nil if too many channels are known.
func (h *Hub) newlyHeard(c Channel) *channel {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.channels) >= channelsMost && h.channels[c] == nil {
		return nil
	}
	return h.channelLocked(c)
}

func (h *Hub) deliverSend(m *Message, r *outbound.Round) error {
	var to [MostProtocols][]*Attachment
	var of protocolSet
	h.mu.RLock()
	if s := h.senders[m.Receiver]; s != nil && s.joined.get(m.Channel) != nil {
		for _, a := range s.joined.get(m.Channel).attachments {
			switch {
			case a.lingers != 0:
				h.counters.Lose(s, a.Via, Away, 1)
			case a.Sends:
				to[a.Via] = append(to[a.Via], a)
				of |= 1 << a.Via
			}
		}
	}
	h.mu.RUnlock()
	return h.handAll(m, r, of, func(p Protocol) []*Attachment { return to[p] })
}

// Receivers returns the attachments of one protocol that a message is for now. They may
// be others than when it was published. Attachment.Wants says which of them take it.
func (h *Hub) Receivers(m *Message, p Protocol) []*Attachment {
	h.mu.RLock()
	defer h.mu.RUnlock()
	ch := h.channels[m.Channel]
	if ch == nil {
		return nil
	}
	if m.Type != Send {
		return ch.lists[p].load()
	}
	var to []*Attachment
	if s := h.senders[m.Receiver]; s != nil && s.joined.get(m.Channel) != nil {
		for _, a := range s.joined.get(m.Channel).attachments {
			if a.Via == p && a.Sends && a.lingers == 0 {
				to = append(to, a)
			}
		}
	}
	return to
}

func (h *Hub) hand(l *Link, m *Message, to []*Attachment) error {
	m.retain()
	if !l.offer(Job{Message: m, To: to}) {
		return fault(BusFailed, "", "%s is behind", l.protocol)
	}
	return nil
}
