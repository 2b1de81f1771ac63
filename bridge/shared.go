package bridge

// Gateways that share their channels may share their senders, too: by a Store that tells what
// other gateways write.

// Learned takes a record that another gateway has written. If the name was given to another
// id here meanwhile, that sender ends: its devices register anew, and get this one.
func (p Peers) Learned(r Record) {
	h := p.hub
	h.mu.Lock()
	var ended []*Attachment
	var holds []*Hold
	s := h.senders[r.ID]
	if h.isOwnName(r.Name) || s != nil && s.ours { // of a gateway that does not know that name as its own
		h.mu.Unlock()
		return
	}
	if other := h.names[r.Name]; r.Name != "" && other != nil && other != s {
		ended, holds = h.endLocked(other)
	}
	if s != nil && s.Name() == "" && r.Name != "" {
		more, held := h.endLocked(s)
		ended, holds, s = append(ended, more...), append(holds, held...), nil
	}
	switch {
	case s == nil:
		s = h.restoreLocked(r)
	case s.Name() != r.Name:
		delete(h.names, s.Name())
		h.setNameLocked(s, r.Name)
		h.renamedLocked(s)
		fallthrough
	default:
		if s.place == 0 {
			h.kept = append(h.kept, s)
			s.place = len(h.kept)
		}
		h.applyLocked(s, r)
	}
	if s != nil {
		h.saveLocked(s)
	}
	h.mu.Unlock()
	finish(ended, holds)
}

// Deleted ends a sender that another gateway has deleted, or that it had first.
func (p Peers) Deleted(id SenderID) {
	h := p.hub
	h.mu.Lock()
	s := h.senders[id]
	if s == nil || s.ours {
		h.mu.Unlock()
		return
	}
	ended, holds := h.endLocked(s)
	h.mu.Unlock()
	finish(ended, holds)
}

// Records calls f with the record of each sender that is remembered. F waits for nothing, and
// calls no method of the hub.
func (p Peers) Records(f func(Record)) {
	h := p.hub
	h.mu.RLock()
	defer h.mu.RUnlock()
	for _, s := range h.kept {
		f(h.recordLocked(s))
	}
}

// endLocked forgets a sender, and returns what finish ends.
func (h *Hub) endLocked(s *Sender) (ended []*Attachment, holds []*Hold) {
	holds, s.holds = s.holds, nil
	return h.forgetLocked(s), holds
}

func finish(ended []*Attachment, holds []*Hold) {
	endAll(ended)
	for _, hold := range holds {
		hold.end()
	}
}
