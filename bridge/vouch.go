package bridge

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
)

// A sender belongs to what vouched for it: the secret key of one generation, or
// a user of the configuration. A name that begins with a user's name and a dot
// is that user's, and nobody else's. What a voucher gave ends with it: tokens,
// callbacks, sessions, and the right to use the id alone. A name keeps its id,
// for whoever registers it anew.

// vouchedByKey and vouchedByUser are how a voucher is written in a record. The
// empty text is the first generation of the key.
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

// Voucher names what vouches for a sender. What outlives a restart is kept with
// it, and ends where it is another by then.
func (u Users) Voucher(s *Sender) string {
	h := u.hub
	h.mu.RLock()
	defer h.mu.RUnlock()
	return s.voucher
}

// voucherOf names what vouches in this run for a sender of that user, or with an
// empty user for one that showed the secret key.
func (h *Hub) voucherOf(user string) string {
	if user != "" {
		return vouchedByUser(user)
	}
	return vouchedByKey(h.opts.Generation)
}

// Set says who the configured users are, as the configuration is read
// again. What somebody else gave to senders with a user's name ends.
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

// foreignLocked reports whether somebody else has to vouch for a sender by now.
func (h *Hub) foreignLocked(s *Sender) bool {
	if s.Name() == "" {
		_, known := h.users[s.user]
		return s.user != "" && !known
	}
	return s.voucher != h.voucherOf(h.userOfLocked(s.Name()))
}

func userSet(users []string) map[string]struct{} {
	set := make(map[string]struct{}, len(users))
	for _, user := range users {
		set[user] = struct{}{}
	}
	return set
}

// disownLocked ends what a sender was given by what vouches for it no more. It
// returns the attachments whose owners are to be told.
func (h *Hub) disownLocked(s *Sender) (ended []*Attachment) {
	ended = h.leaveAllLocked(s)
	delete(h.tokens, s.token)
	s.endPassesLocked()
	s.token = [sha256.Size]byte{}
	s.web, s.protected, s.speaker = false, false, nil
	s.user = h.userOfLocked(s.Name())
	s.voucher = h.voucherOf(s.user)
	return ended
}

// mayNameLocked reports whether a name may be registered by who showed a user's
// password, or with an empty user the secret key.
func (h *Hub) mayNameLocked(name, user string) error {
	if owner := h.userOfLocked(name); owner != user && owner != "" {
		return fault(NameProtected, "name", "%q belongs to the user %s of the configuration", name, owner)
	}
	return nil
}

// keepLocked has a sender remembered from now on. It reports false, and counts
// that, where too many are remembered already.
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

// letGoLocked takes a sender from those that are remembered.
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

// Keep has the sender of a hold remembered from now on, also if it joins
// nothing. What it returns waits until that is on disk.
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

// Remember has the sender of a name remembered from now on, whether it is connected
// still or not: it said something that lasts. It reports false where the name is
// another's by now, or too many senders are remembered.
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

// idForLocked returns the id of a new sender. That of a name is made from it, by
// a key that nobody knows: it looks random, and is the same again where the name
// was not remembered.
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
