package bridge

import (
	"slices"
	"strconv"
)

// Naming says by which name a client registers on the wire or over MQTT.
type Naming struct {
	Name    string // empty: none
	User    string // the configured user whose password was right; empty: the secret key was
	Lasting bool   // the name is remembered from now on, even if it joins no channel
	By      Proof  // the key that a device showed
	Via     Protocol
}

// Register holds the sender of a name until Release; without a name, a new sender. It
// returns once everything that has to be remembered is on disk.
func (hs Holds) Register(n Naming, end func()) (*Hold, error) {
	h := hs.hub
	hold, wait, err := h.Holds().Name(n, end)
	if err == nil && wait != nil {
		err = wait()
	}
	if err != nil {
		return nil, err
	}
	return hold, nil
}

// Name is Register for callers that may not wait for the disk. If wait is not nil, the
// caller calls it before it answers: wait returns once the name is on disk, or it
// releases the hold and returns the error.
func (hs Holds) Name(n Naming, end func()) (hold *Hold, wait func() error, err error) {
	h := hs.hub
	var ended []*Attachment
	var holds []*Hold
	defer func() { // without the lock
		endAll(ended)
		for _, other := range holds {
			other.end()
		}
	}()
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.names[n.Name]
	if err := h.mayHoldLocked(s, n); err != nil {
		return nil, nil, err
	}
	if s == nil {
		s = h.newSenderLocked(n.Name)
		s.user = n.User
		s.voucher = h.voucherOf(s.user)
	}
	hold = h.holdLocked(s, end)
	h.countLocked(hold, n.By)
	fresh := !s.remembered()
	if n.Name != "" && n.Lasting && !h.keepLocked(s, n.Via) {
		h.uncountLocked(hold)
		if s.holds = s.holds[:len(s.holds)-1]; len(s.holds) == 0 {
			h.forgetLocked(s)
		}
		return nil, nil, tooManySenders(h.opts.Limits.Senders)
	}
	if n.By.Own() && !s.own {
		ended, holds = h.giveKeyLocked(s, hold)
		fresh = true
	}
	h.Seen(s)
	return hold, h.heldLocked(hold, fresh), nil
}

// mayHoldLocked refuses a name to who may not have it. S is the sender of that name, or nil.
// A key of the name's own is always enough: an operator made it for this name.
func (h *Hub) mayHoldLocked(s *Sender, n Naming) error {
	if err := h.mayNameLocked(n.Name, n.User); err != nil {
		return err
	}
	switch {
	case s == nil, n.By.Own():
		return nil
	case s.remote:
		return fault(NameProtected, "name", "%q is a client of a foreign broker (it was registered with remote): choose another name, or forget that sender first", n.Name)
	case h.hasKeyLocked(s) && n.By == ByShared:
		return fault(NameHasKey, "name", "%q has a key of its own: the device needs that one (watchtower device key %s)", n.Name, n.Name)
	case h.hasKeyLocked(s), s.protected, h.opts.RequireToken && s.web:
		return fault(NameProtected, "name", "%q is protected: connect with its token", n.Name)
	}
	return nil
}

// heldLocked notes that a sender is held on the wire or over MQTT. Fresh says that it was
// not remembered before. A wait that is not nil waits until that is on disk.
func (h *Hub) heldLocked(hold *Hold, fresh bool) (wait func() error) {
	s := hold.sender
	if s.held && s.unsaved == nil && !fresh {
		return nil
	}
	s.held = true
	if !s.remembered() {
		return nil
	}
	return h.written(hold, h.commitLocked(s))
}

// written returns what waits for a commit, and releases the hold if that fails.
func (h *Hub) written(hold *Hold, commit func() error) func() error {
	return func() error {
		if err := commit(); err != nil {
			h.Holds().Release(hold)
			return storeFault("the registration", err)
		}
		return nil
	}
}

// Receiver returns the id that a text stands for. Digits are an id, which is not looked
// up. Anything else is the name of a known sender.
func (h *Hub) Receiver(text string) (SenderID, *Error) {
	if allDigits(text) {
		n, err := strconv.ParseUint(text, 10, 32)
		if err != nil || n == 0 {
			return 0, fault(InvalidReceiver, "receiver", "%.80s is not a whole number from 1 to 4294967295", text)
		}
		return SenderID(n), nil
	}
	if !ValidName(text) {
		return 0, fault(InvalidReceiver, "receiver", "%.80q is neither a whole number from 1 to 4294967295 nor a name", text)
	}
	h.mu.RLock()
	defer h.mu.RUnlock()
	if s := h.names[text]; s != nil {
		return s.id, nil
	}
	if id := h.namedElsewhereLocked(text); id != 0 {
		return id, nil
	}
	return 0, fault(UnjoinedReceiver, "receiver", "nobody is named %s here: a sender has the name that it registers with", text)
}

// Claim makes a hold the only speaker for its sender's name, among the holds on the wire
// and those over MQTT with the secret key, until it is released or a newer hold claims the
// name, at whichever gateway. In the second case displaced is called, without locks; at once, if a newer hold has
// the name already. Nothing happens if the sender has no name.
func (hs Holds) Claim(hold *Hold, displaced func()) {
	h := hs.hub
	if end := h.claim(hold, displaced); end != nil {
		end()
	}
}

// claim does the work of Claim, and returns what to call then, or nil.
func (h *Hub) claim(hold *Hold, displaced func()) (end func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := hold.sender
	old := s.speaker
	if s.Name() == "" || !slices.Contains(s.holds, hold) || old == hold {
		return nil
	}
	hold.displaced = displaced
	if old == nil {
		h.speakLocked(hold)
		return nil
	}
	if old.registered > hold.registered {
		return displaced
	}
	h.speakLocked(hold)
	h.rivalsLocked(old, hold)
	return old.displaced // read under the lock: its owner may be claiming again
}

// Renew makes a hold the newest, as if it was registered now.
func (hs Holds) Renew(hold *Hold) {
	h := hs.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	h.registrations++
	hold.registered = h.registrations
}
