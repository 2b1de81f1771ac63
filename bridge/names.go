package bridge

import (
	"slices"
	"strconv"
)

// Naming is by which name somebody registers on the wire or over MQTT.
type Naming struct {
	Name    string // empty: none
	User    string // of the configuration, whose password was right; empty: the secret key was
	Lasting bool   // the name is remembered from now on, also if it joins nothing
	Via     Protocol
}

// Register gives the sender of a name, or a new one if that is empty. The
// caller holds it until Release. It returns once what has to be remembered is
// on disk.
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

// Name is RegisterName for those who may not wait. If wait is not nil it is
// to be called before the registration is answered: it returns once the name is
// on disk, or releases the hold and returns why it is not.
func (hs Holds) Name(n Naming, end func()) (hold *Hold, wait func() error, err error) {
	h := hs.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.names[n.Name]
	if err := h.mayNameLocked(n.Name, n.User); err != nil {
		return nil, nil, err
	}
	if s != nil && (s.protected || h.opts.RequireToken && s.web) {
		return nil, nil, fault(NameProtected, "name", "%q is protected: connect with its token", n.Name)
	}
	if s == nil {
		s = h.newSenderLocked(n.Name)
		s.user = n.User
		s.voucher = h.voucherOf(s.user)
	}
	hold = h.holdLocked(s, end)
	fresh := !s.remembered()
	if n.Name != "" && n.Lasting && !h.keepLocked(s, n.Via) {
		if s.holds = s.holds[:len(s.holds)-1]; len(s.holds) == 0 {
			h.forgetLocked(s)
		}
		return nil, nil, tooManySenders(h.opts.Limits.Senders)
	}
	h.Seen(s)
	return hold, h.heldLocked(hold, fresh), nil
}

// heldLocked notes that a sender, which may be remembered only now, is held on the
// wire or over MQTT. If what it returns is not nil, it waits until that is on disk.
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

// written waits for a hold's sender to be on disk.
func (h *Hub) written(hold *Hold, commit func() error) func() error {
	return func() error {
		if err := commit(); err != nil {
			h.Holds().Release(hold)
			return fault(StoreFailed, "", "the registration could not be written to disk")
		}
		return nil
	}
}

// Receiver finds whom a text means that is an id in digits, or else a name: of a
// sender that is known. An id is not looked up.
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
	return 0, fault(UnjoinedReceiver, "receiver", "nobody is named %s here", text)
}

// Claim makes a hold the one that speaks by its sender's name, among those on
// the wire and those over MQTT with the secret key: until it is released, or a
// newer one claims it. Then displaced is called, without locks; at once, if there
// is a newer one already. Senders without a name have nothing to claim.
func (hs Holds) Claim(hold *Hold, displaced func()) {
	h := hs.hub
	if end := h.claim(hold, displaced); end != nil {
		end()
	}
}

// claim does the work of Claim, and returns what is to be told whom.
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
		s.speaker = hold
		return nil
	}
	if old.registered > hold.registered {
		return displaced
	}
	s.speaker = hold
	return old.displaced // read here: its owner may be claiming again
}

// Renew makes a hold the newest, as if it was registered now.
func (hs Holds) Renew(hold *Hold) {
	h := hs.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	h.registrations++
	hold.registered = h.registrations
}
