package bridge

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
)

// A sender's voucher is what let it in: the secret key of one generation, a configured
// user, or a key of its name's own. A name that begins with a user's name and a dot belongs to that user alone.
// Tokens, callbacks, sessions and the right to use the id alone end together with the
// voucher that gave them. A name keeps its id, for whoever registers it anew.

// vouchedByKey and vouchedByUser return a voucher as it is in a record. The empty text is
// the first generation of the key.
func vouchedByKey(generation uint64) string {
	if generation == 0 {
		return ""
	}
	return fmt.Sprintf("key %d", generation)
}

func vouchedByUser(user string) string { return "user " + user }

// Of returns the configured user that a name belongs to, or "".
func (u Users) Of(name string) string {
	h := u.hub
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.userOfLocked(name)
}

func (h *Hub) userOfLocked(name string) string {
	user, _, dotted := strings.Cut(name, ".")
	if _, known := h.users[user]; dotted && known {
		return user
	}
	return ""
}

// User returns the configured user that the sender belongs to, or "". Rules
// that count people count users: one user may have many senders.
func (u Users) User(s *Sender) string {
	h := u.hub
	h.mu.RLock()
	defer h.mu.RUnlock()
	return s.user
}

// Voucher returns the sender's voucher. What outlives a restart is stored with it, and
// ends if the sender has another voucher then.
func (u Users) Voucher(s *Sender) string {
	h := u.hub
	h.mu.RLock()
	defer h.mu.RUnlock()
	return s.voucher
}

// voucherOf returns the voucher, in this run, of a user's senders; with an empty user, of
// those that showed the secret key.
func (h *Hub) voucherOf(user string) string {
	if user != "" {
		return vouchedByUser(user)
	}
	return vouchedByKey(h.opts.Generation)
}

// voucherFor returns the voucher, in this run, of a sender with a name.
func (h *Hub) voucherFor(s *Sender) string {
	user := h.userOfLocked(s.Name())
	if user == "" && s.own && h.opts.OwnKeys {
		return vouchedByOwnKey
	}
	return h.voucherOf(user)
}

// Set replaces the configured users after the configuration was read again. Senders whose
// voucher is no longer the right one lose what it gave them.
func (u Users) Set(users []string) {
	h := u.hub
	h.mu.Lock()
	h.users = userSet(users)
	var ended []*Attachment
	var holds []*Hold
	for _, s := range h.senders {
		if !h.foreignLocked(s) {
			continue
		}
		ended = append(ended, h.disownLocked(s)...)
		holds = append(holds, s.holds...)
		s.holds = nil
		if !s.remembered() {
			h.forgetLocked(s)
		} else {
			h.saveLocked(s)
		}
	}
	h.mu.Unlock()
	endAll(ended)
	for _, hold := range holds {
		hold.end()
	}
}

// foreignLocked reports whether a sender's voucher is no longer the right one.
func (h *Hub) foreignLocked(s *Sender) bool {
	if s.Name() == "" {
		_, known := h.users[s.user]
		return s.user != "" && !known
	}
	return s.voucher != h.voucherFor(s)
}

func userSet(users []string) map[string]struct{} {
	set := make(map[string]struct{}, len(users))
	for _, user := range users {
		set[user] = struct{}{}
	}
	return set
}

// disownLocked ends what a sender's old voucher gave, and sets the new voucher. It
// returns the ended attachments, for endAll.
func (h *Hub) disownLocked(s *Sender) (ended []*Attachment) {
	ended = h.leaveAllLocked(s)
	delete(h.tokens, s.token)
	s.endPassesLocked()
	s.token = [sha256.Size]byte{}
	s.web, s.protected, s.approved, s.speaker = false, false, false, nil
	s.user = h.userOfLocked(s.Name())
	s.voucher = h.voucherFor(s)
	return ended
}

// mayNameLocked refuses a name that is the gateway's own, or that belongs to a user other than
// the one whose password was shown. An empty user stands for the secret key.
func (h *Hub) mayNameLocked(name, user string) error {
	if h.isOwnName(name) {
		return fault(NameProtected, "name", "%q is a sender of the gateway's own: take another name", name)
	}
	if owner := h.userOfLocked(name); owner != user && owner != "" {
		return fault(NameProtected, "name", "%q belongs to the user %s of the configuration: sign in as that user, or take another name", name, owner)
	}
	return nil
}

// keepLocked makes a sender remembered from now on. It reports false, and counts a drop,
// if too many senders are remembered already.
func (h *Hub) keepLocked(s *Sender, via Protocol) bool {
	kept := h.rememberLocked(s)
	if !kept {
		h.counters.Drop(via, Limit, 1)
	}
	return kept
}

func (h *Hub) rememberLocked(s *Sender) bool {
	if s.place > 0 {
		return true
	}
	if h.opts.Limits.Senders > 0 && len(h.kept) >= h.opts.Limits.Senders {
		return false
	}
	h.kept = append(h.kept, s)
	s.place = len(h.kept)
	return true
}

// letGoLocked takes a sender out of the remembered ones.
func (h *Hub) letGoLocked(s *Sender) {
	if s.place == 0 {
		return
	}
	last := h.kept[len(h.kept)-1]
	h.kept[s.place-1], last.place = last, s.place
	h.kept = slices.Delete(h.kept, len(h.kept)-1, len(h.kept))
	s.place = 0
}

func tooManySenders(most int) error {
	return fault(TooManySenders, "", "the gateway remembers %d senders, as many as it may (limits.senders): delete some first", most)
}

// Keep makes a hold's sender remembered from now on, even if it joins no channel. Wait
// returns once that is on disk.
func (h *Hub) Keep(hold *Hold, via Protocol) (wait func() error, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := hold.sender
	if s.Name() == "" || s.gone || s.remembered() && s.unsaved == nil {
		return func() error { return nil }, nil
	}
	if !h.keepLocked(s, via) {
		return nil, tooManySenders(h.opts.Limits.Senders)
	}
	return h.commitLocked(s), nil
}

// Remember makes the sender of a name remembered from now on, because it said something
// that lasts; it need not be connected any more. It reports false if the name is another
// sender's by now, or too many senders are remembered.
func (h *Hub) Remember(name string, id SenderID, via Protocol) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.names[name]
	if s == nil {
		if h.idForLocked(name) != id {
			return false
		}
		s = h.newSenderLocked(name)
		s.held = true
		h.Seen(s)
	}
	if s.id != id || !s.remembered() && !h.keepLocked(s, via) {
		return false
	}
	h.saveLocked(s)
	return true
}

// idForLocked returns an id for a new sender. A name's id is a MAC of the name, made with
// a secret key: it looks random, and is the same again even if the name was not
// remembered.
func (h *Hub) idForLocked(name string) SenderID {
	if name == "" {
		return h.freeIDLocked()
	}
	for n := uint32(0); ; n++ {
		mac := hmac.New(sha256.New, h.opts.IDKey)
		_ = binary.Write(mac, binary.LittleEndian, n) // a hash takes everything
		mac.Write([]byte(name))
		id := SenderID(binary.LittleEndian.Uint32(mac.Sum(nil)))
		if _, taken := h.senders[id]; id != 0 && !taken {
			return id
		}
	}
}
