package bridge

import (
	"slices"
	"sync/atomic"
)

// Hold keeps a sender alive while it is connected: a wire registration or an
// MQTT session. A sender without a name ends with its last hold.
type Hold struct {
	sender    *Sender
	end       func()
	displaced func() // set by Claim

	by       Proof  // what let it in
	keyOf    string // the name whose own key that was; an operator may have renamed its sender
	released bool

	registered uint64 // the number of this registration; a newer one is higher

	via  atomic.Int32 // the protocol plus 1, see Present; 0: not known
	away atomic.Bool
	left atomic.Uint32 // a Departure

	signs
	on []Channel // that its device was on at its end; written before Release
}

// Sender returns the sender that is held.
func (hd *Hold) Sender() *Sender { return hd.sender }

// New makes a sender without a name. It returns a hold on the sender, which lasts until
// Release. End is called, without locks, when the sender is deleted.
func (hs Holds) New(end func()) *Hold {
	h := hs.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.holdLocked(h.newSenderLocked(""), end)
}

// Sender holds a sender whose token was shown. From then on the sender's id needs that
// token (Tokens.Authorize). Sender returns once that is on disk.
func (hs Holds) Sender(s *Sender, end func()) (*Hold, error) {
	h := hs.hub
	h.mu.Lock()
	if s.gone {
		h.mu.Unlock()
		return nil, fault(InvalidSender, "sender", "%d was deleted: register again", s.id)
	}
	hold := h.holdLocked(s, end)
	wait := h.heldLocked(hold, false)
	h.mu.Unlock()
	if wait != nil {
		if err := wait(); err != nil {
			return nil, err
		}
	}
	return hold, nil
}

// Restored is a session that outlived a restart.
type Restored struct {
	ID      SenderID
	Name    string // of its sender; empty: none, or it is not known
	Named   bool   // its sender has a name
	Lasting bool   // it outlives its connection, so its name was remembered
	User    string // whose password opened it; empty: the secret key or a token did
	Voucher string // what vouched for its sender when it was opened (Hub.Voucher)
}

// Restore holds the sender of a session that outlived a restart. It fails if the sender's
// voucher is no longer the right one, if a remembered name is no longer known, or if the
// id is another sender's. A sender that was not remembered gets its old id back.
func (hs Holds) Restore(r Restored, end func()) (*Hold, error) {
	h := hs.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	id := r.ID
	if r.User != "" {
		r.Voucher = vouchedByUser(r.User)
	}
	s := h.senders[id]
	switch {
	case s == nil && r.Voucher != h.voucherOf(r.User), s != nil && r.Voucher != s.voucher:
		return nil, fault(InvalidSender, "sender", "%d was registered with what counts no more: register again", id)
	case s == nil && r.Named && r.Lasting:
		return nil, fault(InvalidSender, "sender", "%d is not known any more: register again", id)
	case s != nil && !r.Named && s.remembered():
		return nil, fault(InvalidSender, "sender", "%d is another's by now: register again", id)
	case s == nil:
		s = &Sender{id: id, user: r.User, voucher: r.Voucher}
		h.senders[id] = s
		if r.Name != "" && h.names[r.Name] == nil {
			h.setNameLocked(s, r.Name)
		}
	}
	return h.holdLocked(s, end), nil
}

func (h *Hub) holdLocked(s *Sender, end func()) *Hold {
	h.registrations++
	hold := &Hold{sender: s, end: end, registered: h.registrations}
	s.holds = append(s.holds, hold)
	return hold
}

// Release ends a hold. Its owner detaches its attachments first.
func (hs Holds) Release(hold *Hold) {
	h := hs.hub
	h.mu.Lock()
	h.uncountLocked(hold)
	s := hold.sender
	s.holds = slices.DeleteFunc(s.holds, func(h *Hold) bool { return h == hold })
	h.silenceLocked(hold)
	hold.seen()
	d, ok := hold.departure()
	if ok {
		s.left, s.via = d, d.via
	}
	var ended []*Attachment
	if len(s.holds) == 0 && !s.remembered() && !s.gone {
		h.goneLocked(hold, d)
		ended = h.forgetLocked(s)
	}
	h.mu.Unlock()
	endAll(ended)
}
