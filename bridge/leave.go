package bridge

import "slices"

// A sender may be on a channel at several gateways. Who makes it leave, over HTTP or as an operator,
// means all of them: each is told, and ends what it has.

// IsOn reports whether a sender is on a channel at another gateway.
func (p Peers) IsOn(id SenderID, c Channel) bool {
	h := p.hub
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.elsewhereLocked(id, c, func(PeerMember) bool { return true })
}

// Leave has the other gateways end what they have of a sender on a channel. Nobody waits for them.
func (p Peers) Leave(id SenderID, c Channel) {
	if p.IsOn(id, c) {
		p.hub.backplane.TellLeave(PeerMember{Channel: c, Sender: id})
	}
}

// LearnLeave takes a sender off a channel here, because another gateway says so. Callbacks stay: all
// gateways know by themselves which there are. It returns what the caller calls then, or nil.
func (p Peers) LearnLeave(id SenderID, c Channel) (end func()) {
	h := p.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.senders[id]
	if s == nil {
		return nil
	}
	m := s.joined.get(c)
	if m == nil {
		return nil
	}
	ended := slices.DeleteFunc(slices.Clone(m.attachments), func(a *Attachment) bool { return a.Address != "" })
	for _, a := range ended {
		h.detachLocked(a)
	}
	return func() { endAll(ended) }
}
