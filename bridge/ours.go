package bridge

import "slices"

// Own holds the sender of a part of the gateway, until Release. Its id is made from its name,
// so it is the same at each start, and at all gateways that share their senders. It is not
// remembered. Nobody can register the name if it is one of Options.OwnNames, and nobody gets a
// token of the sender, renames or deletes it.
func (hs Holds) Own(name string) *Hold {
	h := hs.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.names[name]
	if s == nil {
		s = h.newSenderLocked(name)
	}
	s.ours, s.held = true, true
	return h.holdLocked(s, func() {})
}

// isOwnName reports whether a name is for parts of the gateway only.
func (h *Hub) isOwnName(name string) bool { return slices.Contains(h.opts.OwnNames, name) }

// mayManageLocked refuses what would change or delete a sender of the gateway's own.
func (s *Sender) mayManageLocked() error {
	if s.ours {
		return fault(NameProtected, "sender", "%d (%s) is the gateway's own", s.id, s.Name())
	}
	return nil
}
