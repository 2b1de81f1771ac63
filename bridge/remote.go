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
