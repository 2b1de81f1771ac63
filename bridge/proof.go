package bridge

// Proof is by which key a device was let in.
type Proof uint32

// The proofs. Those above ByShared are keys of names of their own; each master from which
// such keys are made has a number.
const (
	Unproved Proof = 0 // by no key of a device
	ByShared Proof = 1 // by the key that all devices share
)

// Own reports whether it was a key of the device's own.
func (p Proof) Own() bool { return p > ByShared }

// vouchedByOwnKey is the voucher of a name with a key of its own.
const vouchedByOwnKey = "own key"

// hasKeyLocked reports whether a sender's name has a key of its own that counts. The names
// of configured users belong to those.
func (h *Hub) hasKeyLocked(s *Sender) bool { return s.own && s.user == "" && h.opts.OwnKeys }

// giveKeyLocked notes that a name was first held by a key of its own. What the key that
// all share gave under that name ends: tokens, callbacks, other connections. It returns
// what has to be ended without locks.
func (h *Hub) giveKeyLocked(s *Sender, by *Hold) (ended []*Attachment, holds []*Hold) {
	s.own = true
	ended = h.disownLocked(s)
	for _, hold := range s.holds {
		if hold != by {
			holds = append(holds, hold)
		}
	}
	s.holds = []*Hold{by}
	return ended, holds
}

// HasKey reports whether a name has a key of its own, so that it is refused to the key
// that all devices share.
func (hs Holds) HasKey(name string) bool {
	h := hs.hub
	h.mu.RLock()
	defer h.mu.RUnlock()
	s := h.names[name]
	return s != nil && h.hasKeyLocked(s)
}

// EndOwn ends the connections that a name's own keys let in, and returns how many there
// were. The caller makes sure that no such key lets in another one meanwhile.
func (hs Holds) EndOwn(name string) int {
	return hs.end(func(hold *Hold) bool { return hold.by.Own() && hold.keyOf == name })
}

// EndProved does the same for all names and some keys.
func (hs Holds) EndProved(which func(Proof) bool) int {
	return hs.end(func(hold *Hold) bool { return which(hold.by) })
}

func (hs Holds) end(which func(*Hold) bool) int {
	h := hs.hub
	var over []*Hold
	steps := 0
	h.mu.RLock()
	for _, s := range h.senders { // others may change the map whenever the lock is free
		for _, hold := range s.holds {
			if which(hold) {
				over = append(over, hold)
			}
		}
		if steps++; steps%manageSteps == 0 {
			h.mu.RUnlock()
			h.mu.RLock()
		}
	}
	h.mu.RUnlock()
	for _, hold := range over {
		hold.end()
	}
	return len(over)
}

// Proofs returns how many devices are held, by what let them in.
func (d Directory) Proofs() map[Proof]int {
	h := d.hub
	h.mu.RLock()
	defer h.mu.RUnlock()
	counts := make(map[Proof]int, len(h.proofs))
	for by, n := range h.proofs {
		counts[by] = n
	}
	return counts
}

// countLocked notes what let a hold in.
func (h *Hub) countLocked(hold *Hold, by Proof) {
	if hold.by = by; by != Unproved {
		h.proofs[by]++
	}
	if by.Own() {
		hold.keyOf = hold.sender.Name()
	}
}

// uncountLocked undoes that, when the hold is released. It may be called again.
func (h *Hub) uncountLocked(hold *Hold) {
	if hold.by == Unproved || hold.released {
		return
	}
	hold.released = true
	if h.proofs[hold.by]--; h.proofs[hold.by] == 0 {
		delete(h.proofs, hold.by)
	}
}
