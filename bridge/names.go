package bridge

import "slices"

// RegisterName gives the sender of a name that was shown the secret key on the
// wire or over MQTT, or a new one if name is empty. The caller holds it until
// Release. It returns once a new name is on disk.
func (h *Hub) RegisterName(name string, end func()) (*Hold, error) {
	hold, wait, err := h.HoldName(name, end)
	if err == nil && wait != nil {
		err = wait()
	}
	if err != nil {
		return nil, err
	}
	return hold, nil
}

// HoldName is RegisterName for those who may not wait. If wait is not nil it is
// to be called before the registration is answered: it returns once the name is
// on disk, or releases the hold and returns why it is not.
func (h *Hub) HoldName(name string, end func()) (hold *Hold, wait func() error, err error) {
	h.mu.Lock()
	s := h.names[name]
	if s != nil && (s.protected || h.opts.RequireToken && s.web) {
		h.mu.Unlock()
		return nil, nil, fault(NameProtected, "name", "%q is protected: connect with its token", name)
	}
	if s == nil {
		s = h.newSenderLocked(name)
	}
	hold = h.holdLocked(s, end)
	if name != "" && (!s.held || s.unsaved != nil) {
		s.held = true
		wait = h.written(hold, h.commitLocked(s))
	}
	h.mu.Unlock()
	h.Seen(s)
	return hold, wait, nil
}

// written waits for a hold's sender to be on disk.
func (h *Hub) written(hold *Hold, commit func() error) func() error {
	return func() error {
		if err := commit(); err != nil {
			h.Release(hold)
			return fault(StoreFailed, "", "the registration could not be written to disk")
		}
		return nil
	}
}

// Claim makes a hold the one that speaks by its sender's name, among those on
// the wire and those over MQTT with the secret key: until it is released, or a
// newer one claims it. Then displaced is called, without locks; at once, if there
// is a newer one already. Senders without a name have nothing to claim.
func (h *Hub) Claim(hold *Hold, displaced func()) {
	s := hold.sender
	if s.Name() == "" {
		return
	}
	h.mu.Lock()
	old := s.speaker
	if !slices.Contains(s.holds, hold) || old == hold {
		h.mu.Unlock()
		return
	}
	hold.displaced = displaced
	if old != nil && old.registered > hold.registered {
		h.mu.Unlock()
		displaced()
		return
	}
	s.speaker = hold
	h.mu.Unlock()
	if old != nil {
		old.displaced()
	}
}

// Renew makes a hold the newest, as if it was registered now.
func (h *Hub) Renew(hold *Hold) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.registrations++
	hold.registered = h.registrations
}
