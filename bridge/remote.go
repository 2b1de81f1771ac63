package bridge

// Remote returns the sender that a client of a broker may speak as which is not the gateway's.
// Proven says that the broker lets nobody speak as another. Else it is only a sender that was
// registered for such a client, and that nothing of this gateway's holds: nobody else may speak
// as one of its own devices.
func (d Directory) Remote(id SenderID, proven bool) (s *Sender, ok bool) {
	h := d.hub
	h.mu.RLock()
	defer h.mu.RUnlock()
	s = h.senders[id]
	if s == nil {
		return nil, false
	}
	return s, !s.ours && (proven || s.remote && !s.protected && len(s.holds) == 0)
}

// outside is who is told which senders clients of a broker may speak as that is not the gateway's.
type outside struct {
	proven bool
	told   func(id SenderID, may bool) // nil: nobody
}

// OnRemote has f called with each sender that was registered for a client of a foreign broker, and
// when one is registered or forgotten. Proven is as in Remote: then each registered sender is one. The
// hub is locked meanwhile: f waits for nothing and asks the hub nothing. It is called once, before
// anybody registers.
func (d Directory) OnRemote(proven bool, f func(id SenderID, may bool)) {
	h := d.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	h.outside = outside{proven, f}
	for _, s := range h.senders {
		h.outsideLocked(s, true)
	}
}

func (h *Hub) outsideLocked(s *Sender, may bool) {
	if o := h.outside; o.told != nil && !s.ours && (s.remote || o.proven && s.web) {
		o.told(s.id, may)
	}
}
