package bridge

import (
	"crypto/sha256"
	"slices"
)

// restoredMembership is a stored membership that waits for its protocol.
type restoredMembership struct {
	sender   *Sender
	callback KeptMembership
}

// expect makes room for senders that are restored. To grow for a hundred thousand takes as long
// as to restore them.
func (h *Hub) expect(records []Record) {
	names, tokens := 0, 0
	for _, r := range records {
		if r.Name != "" {
			names++
		}
		if len(r.Token) > 0 {
			tokens++
		}
	}
	h.senders, h.kept = make(map[SenderID]*Sender, len(records)), make([]*Sender, 0, len(records))
	h.names, h.tokens = make(map[string]*Sender, names), make(map[[sha256.Size]byte]*Sender, tokens)
}

// restore makes a sender from its record. If its voucher is no longer the right one, only
// the name and its id are restored. Without a name the record is deleted.
func (h *Hub) restore(r Record) {
	s := h.restoreLocked(r)
	if s == nil {
		h.opts.Store.Delete(r.ID)
		return
	}
	if h.foreignLocked(s) {
		h.disownLocked(s)
		h.saveLocked(s)
		return
	}
	for _, cb := range r.Kept {
		h.restored = append(h.restored, restoredMembership{s, cb})
	}
}

// restoreLocked makes a sender from its record, without what is kept of its memberships. It
// returns nil for one without a name whose voucher is no longer the right one, and for one whose
// name is the gateway's own.
func (h *Hub) restoreLocked(r Record) *Sender {
	if h.isOwnName(r.Name) { // somebody had it before it was the gateway's
		h.opts.Log.WithField("name", r.Name).WithField("id", r.ID).Warn("a sender was forgotten: its name is the gateway's own now, its device needs another")
		return nil
	}
	s := &Sender{id: r.ID, user: h.userOfLocked(r.Name)}
	if r.Name == "" && r.Voucher != h.voucherOf(s.user) {
		return nil
	}
	s.saved = r.Seen
	h.senders[s.id] = s
	h.kept = append(h.kept, s)
	s.place = len(h.kept)
	if r.Name != "" {
		h.setNameLocked(s, r.Name)
	}
	h.applyLocked(s, r)
	return s
}

// applyLocked gives a sender what its record says, but for its name and memberships.
func (h *Hub) applyLocked(s *Sender, r Record) {
	s.web, s.held, s.protected, s.approved, s.own, s.remote, s.voucher = r.Registered, r.Held, r.Protected, r.Approved, r.Own, r.Remote, r.Voucher
	s.seen.Store(max(s.seen.Load(), r.Seen))
	var token [len(s.token)]byte
	if len(r.Token) == len(token) {
		copy(token[:], r.Token)
	}
	if token == s.token || h.foreignLocked(s) {
		return
	}
	delete(h.tokens, s.token)
	s.endPassesLocked()
	if s.token = token; len(r.Token) > 0 {
		h.tokens[token] = s
	}
}

// Restore calls join for each callback membership that the store remembers. It is called
// once, before the gateway takes requests.
func (k Kept) Restore(join func(*Sender, KeptMembership)) {
	h := k.hub
	restored := h.restored
	h.restored = nil
	for _, r := range restored {
		join(r.sender, r.callback)
	}
}

// saveLocked saves a sender's record. Wait returns once that is on disk. A sender that is
// not remembered has no record.
func (h *Hub) saveLocked(s *Sender) (wait func() error) {
	if h.opts.Store == nil || s.gone || !s.remembered() {
		return func() error { return nil }
	}
	r := h.recordLocked(s)
	s.saved = r.Seen
	return h.opts.Store.Save(r)
}

// recordLocked is what is on disk of a sender.
func (h *Hub) recordLocked(s *Sender) Record {
	r := Record{
		ID: s.id, Name: s.Name(), Registered: s.web, Held: s.held, Protected: s.protected, Approved: s.approved, Own: s.own, Remote: s.remote, Voucher: s.voucher, Seen: s.seen.Load(),
	}
	if r.Seen == 0 {
		r.Seen = h.now().Unix()
	}
	var none [len(s.token)]byte
	if s.token != none {
		r.Token = append([]byte(nil), s.token[:]...)
	}
	for _, on := range s.joined {
		for _, a := range on.v.attachments {
			if a.Address != "" {
				r.Kept = append(r.Kept, KeptMembership{Channel: on.channel, Address: a.Address, NoEcho: a.NoEcho})
			}
		}
	}
	return r
}

// commitLocked saves a change. Wait returns once that is on disk. Until then, and if that
// fails, a later call that changes nothing saves it again: no success is reported that a
// restart would undo.
func (h *Hub) commitLocked(s *Sender) (wait func() error) {
	save := h.saveLocked(s)
	mine := &save
	s.unsaved = mine
	return func() error {
		err := save()
		h.mu.Lock()
		defer h.mu.Unlock()
		if err == nil && s.unsaved == mine {
			s.unsaved = nil
		}
		return err
	}
}

// saveSeen saves, at the end, when each sender was last seen, if that has changed.
func (h *Hub) saveSeen() {
	h.mu.Lock()
	defer h.mu.Unlock()
	wait := func() error { return nil }
	for _, s := range h.kept {
		if h.liveLocked(s) {
			s.seen.Store(h.now().Unix())
		}
		if s.seen.Load() != s.saved {
			wait = h.saveLocked(s)
		}
	}
	if err := wait(); err != nil {
		h.opts.Log.WithError(err).Error("senders not saved")
	}
}

// Join makes url a sender's callback on channels, in place of an earlier callback there.
// It calls attach for each channel that does not have this callback yet. With replays,
// the callback also takes messages on their way. Wait, called without locks, returns once
// the change is on disk.
func (k Kept) Join(s *Sender, channels []Channel, url string, noEcho, replays bool, attach func(Channel) *Attachment) (wait func() error, err error) {
	h := k.hub
	channels = unique(channels)
	h.mu.Lock()
	if s.gone {
		h.mu.Unlock()
		return nil, fault(InvalidSender, "sender", "%d was deleted: register again", s.id)
	}
	if err := h.roomLocked(s, channels...); err != nil {
		h.mu.Unlock()
		return nil, err
	}
	changed := false
	var ended []*Attachment
	for _, c := range channels {
		var old []*Attachment
		same := false
		if m := s.joined.get(c); m != nil {
			for _, a := range m.attachments {
				if a.Address == url && a.NoEcho == noEcho {
					if same = true; replays {
						a.after.Store(0)
					}
				}
				if a.Address != "" {
					old = append(old, a)
				}
			}
		}
		if same {
			continue
		}
		fresh := attach(c)
		if err := h.attachLocked(s, c, fresh); err != nil {
			h.mu.Unlock()
			return nil, err
		}
		for _, a := range old { // it also takes over the messages on their way
			fresh.after.Store(min(fresh.after.Load(), a.after.Load()))
			h.detachLocked(a)
		}
		ended, changed = append(ended, old...), true
	}
	saved := func() error { return nil }
	if changed || s.unsaved != nil {
		saved = h.commitLocked(s)
	}
	h.mu.Unlock()
	endAll(ended)
	return func() error {
		if err := saved(); err != nil {
			return storeFault("the join", err)
		}
		return nil
	}, nil
}

// End ends a callback of a sender on all its channels: its receiver is gone.
func (k Kept) End(s *Sender, url string) {
	k.Drop(s, func(a *Attachment) bool { return a.Address == url })
}

// Drop ends those of a sender's callbacks that which selects, on the channels where they are.
func (k Kept) Drop(s *Sender, which func(*Attachment) bool) {
	h := k.hub
	h.mu.Lock()
	var ended []*Attachment
	for _, on := range slices.Backward(slices.Clone(s.joined)) {
		for _, a := range slices.Clone(on.v.attachments) {
			if a.Address != "" && which(a) {
				h.detachLocked(a)
				ended = append(ended, a)
			}
		}
	}
	if len(ended) > 0 {
		h.saveLocked(s)
	}
	h.mu.Unlock()
	endAll(ended)
}
