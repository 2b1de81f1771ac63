package bridge

import (
	"crypto/sha256"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// This file has what an operator sees of senders, and does to them.

// The faults of managing senders.
const (
	UnknownSender Code = "unknown-sender"
	NameTaken     Code = "name-taken"
	NoToken       Code = "no-token"
)

// Present notes the protocol of a hold's client, and that the client is connected.
func (hd *Hold) Present(via Protocol) {
	hd.left.Store(0)
	hd.via.Store(int32(via) + 1)
	hd.away.Store(false)
}

// Away notes the protocol of a hold's client, and that the client is not connected while
// its session goes on.
func (hd *Hold) Away(via Protocol) {
	hd.seen()
	hd.away.Store(true)
	hd.via.Store(int32(via) + 1)
}

// SenderInfo is a sender as an operator sees it.
type SenderInfo struct {
	ID        SenderID
	Name      string
	Via       []Protocol // by which it is connected, or reached while it is away; sorted by name
	Here      bool       // it is connected
	Seen      time.Time  // when it was last heard of, or reached; zero: never
	Channels  int        // that it has joined
	Protected bool
	Approved  bool      // an operator protected it
	Held      bool      // its name was held on the wire or over MQTT
	Remote    bool      // it is a client of a foreign broker
	Token     bool      // it has one
	Own       bool      // its name has a key of its own
	By        Proof     // the key of its newest device; Unproved: none is held
	Left      Departure // of its last device, if it is away
	LeftVia   Protocol  // of that device, if Left is not LeftUnnoticed

	Last    Protocol       // by which it last registered or joined; zero: not since the start
	From    netip.AddrPort // where it is, or was last; zero: not known
	Heard   time.Time      // when the device was last heard, if it is here; zero: not known
	Late    bool           // it is here, and has been silent for longer than it promised
	Missing bool           // it is late, or away without a goodbye
}

// SenderFilter chooses senders. Its zero value chooses all.
type SenderFilter struct {
	Find string    // part of the name or of the id; upper and lower case are the same
	Via  *Protocol // one of SenderInfo.Via
	Here *bool
	Held *bool

	Late, Missing bool              // only those
	Except        func(string) bool // names that are left out; nil: none
}

func (f SenderFilter) wants(s SenderInfo) bool {
	switch {
	case f.Find != "" && !strings.Contains(strings.ToLower(s.Name), strings.ToLower(f.Find)) &&
		!strings.Contains(strconv.FormatUint(uint64(s.ID), 10), f.Find):
		return false
	case f.Via != nil && !slices.Contains(s.Via, *f.Via):
		return false
	case f.Late && !s.Late, f.Missing && !s.Missing, f.Except != nil && f.Except(s.Name):
		return false
	}
	return (f.Here == nil || *f.Here == s.Here) && (f.Held == nil || *f.Held == s.Held)
}

// manageSteps is how many senders and memberships are read while the hub's lock is held
// once. That takes some tens of microseconds.
const manageSteps = 64

// List returns the senders that a filter chooses, ascending by id and beginning with
// from: at most room of them, and the id of the next one, or 0. It does not hold the
// hub's lock throughout, so a sender that comes or goes meanwhile may be missing.
func (r Registry) List(f SenderFilter, from SenderID, room int) (list []SenderInfo, next SenderID) {
	h := r.hub
	steps := 0
	h.mu.RLock()
	for id, s := range h.senders { // others may change the map whenever the lock is free
		if id >= from {
			if info := h.infoLocked(s); f.wants(info) {
				list = append(list, info)
			}
		}
		if steps += 1 + len(s.joined); steps >= manageSteps {
			steps = 0
			h.mu.RUnlock()
			if len(list) > 4*room+manageSteps {
				list = first(list, room+1)
			}
			h.mu.RLock()
		}
	}
	h.mu.RUnlock()
	if list = first(list, room+1); len(list) > room {
		next, list = list[room].ID, list[:room]
	}
	return list, next
}

// first returns the n senders with the lowest ids, ascending.
func first(list []SenderInfo, n int) []SenderInfo {
	slices.SortFunc(list, func(a, b SenderInfo) int { return int(int64(a.ID) - int64(b.ID)) })
	return list[:min(n, len(list))]
}

// Sender returns what an operator sees of one sender.
func (r Registry) Sender(id SenderID) (SenderInfo, error) {
	h := r.hub
	h.mu.RLock()
	defer h.mu.RUnlock()
	s, err := h.managedLocked(id)
	if err != nil {
		return SenderInfo{}, err
	}
	return h.infoLocked(s), nil
}

func (h *Hub) managedLocked(id SenderID) (*Sender, error) {
	if s := h.senders[id]; s != nil {
		return s, nil
	}
	return nil, fault(UnknownSender, "sender", "%d is unknown", id)
}

// Details are what only the view of one sender has.
type Details struct {
	On   []Channel // that it is a member of, ascending; at most so many as were asked for
	Lost []Loss
}

// Details returns more of one sender.
func (r Registry) Details(id SenderID, channels int) (d Details, err error) {
	h := r.hub
	h.mu.RLock()
	defer h.mu.RUnlock()
	s, err := h.managedLocked(id)
	if err != nil {
		return d, err
	}
	for _, on := range s.joined {
		if len(d.On) < channels && on.v.member() {
			d.On = append(d.On, on.channel)
		}
	}
	d.Lost = s.losses()
	return d, nil
}

func (h *Hub) infoLocked(s *Sender) SenderInfo {
	info := SenderInfo{
		ID: s.id, Name: s.Name(), Channels: len(s.joined), Protected: s.protected, Approved: s.approved, Held: s.held, Remote: s.remote,
		Token: s.token != [sha256.Size]byte{}, Last: s.via, Own: h.hasKeyLocked(s),
	}
	var via [MostProtocols]bool
	left, waits := s.left, false
	for _, hold := range s.holds {
		if at := hold.via.Load(); at > 0 {
			via[at-1] = true
		}
		waits = waits || hold.away.Load()
		info.Here = info.Here || !hold.away.Load()
		if hold.by != Unproved {
			info.By = hold.by
		}
		if d, ok := hold.departure(); ok {
			left = d
		}
	}
	polls := false
	for _, on := range s.joined {
		for _, a := range on.v.attachments {
			via[a.Via] = true
			polls = polls || a.Polls
			// A callback is no connection, nor is a stream that has ended. Other
			// attachments have holds, which say more.
			info.Here = info.Here || a.Returns && a.Address == "" && a.lingers == 0
		}
	}
	for _, p := range Protocols() {
		if via[p] {
			info.Via = append(info.Via, p)
		}
	}
	h.signsLocked(s, &info)
	if info.Here {
		if seen := s.seen.Load(); polls && info.Heard.IsZero() && seen != 0 {
			info.Heard = time.Unix(seen, 0)
		}
		info.Seen, info.Missing = h.now(), info.Late
		return info
	}
	info.Left, info.LeftVia = left.why, left.via
	if !info.From.IsValid() && left.from != nil {
		info.From = *left.from
	}
	info.Missing = left.why != LeftByGoodbye && (s.held || waits || left.why != LeftUnnoticed && info.Name != "")
	if seen := s.seen.Load(); seen != 0 {
		info.Seen = time.Unix(seen, 0)
	}
	return info
}

// SenderChange is a change that an operator makes. A nil field changes nothing.
type SenderChange struct {
	Name      *string // the old name becomes free
	Protected *bool   // its name is registered again only with its token
}

// Change changes a sender, all or nothing. It returns once that is on disk.
func (r Registry) Change(id SenderID, c SenderChange) error {
	h := r.hub
	return h.manage(id, func(s *Sender) error {
		name := s.Name()
		if c.Name != nil {
			name = *c.Name
		}
		if err := h.mayChangeLocked(s, name, c); err != nil {
			return err
		}
		if c.Protected != nil {
			s.protected, s.approved = *c.Protected, *c.Protected
		}
		if old := s.Name(); name != old {
			if old != "" {
				delete(h.names, old)
			}
			s.speaker = nil // of the old name
			h.setNameLocked(s, name)
			h.renamedLocked(s)
			for _, on := range s.joined {
				h.touchLocked(on.channel)
			}
		}
		return nil
	})
}

func (h *Hub) mayChangeLocked(s *Sender, name string, c SenderChange) error {
	if c.Name != nil && !ValidName(name) {
		return fault(InvalidName, "name", "must be 1 to 64 of A–Z a–z 0–9 _ . : -")
	}
	if err := h.mayNameLocked(name, s.user); err != nil {
		return err
	}
	if h.userOfLocked(name) != s.user && s.user != "" {
		return fault(NameProtected, "name", "sender %d belongs to the user %s of the configuration: its name begins with %s.", s.id, s.user, s.user)
	}
	if taken := h.names[name]; taken != nil && taken != s {
		return fault(NameTaken, "name", "%q is the name of sender %d: forget or rename that first", name, taken.id)
	}
	if c.Protected == nil || !*c.Protected {
		return nil
	}
	if name == "" {
		return fault(InvalidName, "protected", "needs a name: only a name can be given again")
	}
	if s.token == [sha256.Size]byte{} {
		return fault(NoToken, "protected", "sender %d has no token, so nobody could use its name again: give it one first", s.id)
	}
	return nil
}

// FreshToken gives a sender a new token; the old token is no longer valid. It returns
// once that is on disk.
func (r Registry) FreshToken(id SenderID) (token string, err error) {
	h := r.hub
	token = newToken()
	err = h.manage(id, func(s *Sender) error {
		h.setTokenLocked(s, hashToken(token))
		return nil
	})
	if err != nil {
		return "", err
	}
	return token, nil
}

// manage changes a sender, and returns once that is on disk.
func (h *Hub) manage(id SenderID, change func(*Sender) error) error {
	h.mu.Lock()
	s, err := h.managedLocked(id)
	if err == nil {
		err = s.mayManageLocked()
	}
	if err == nil && !h.rememberLocked(s) { // a managed sender is remembered
		err = tooManySenders(h.opts.Limits.Senders)
	}
	if err == nil {
		err = change(s)
	}
	if err != nil {
		h.mu.Unlock()
		return err
	}
	wait := h.commitLocked(s)
	h.mu.Unlock()
	if wait() != nil {
		return fault(StoreFailed, "", "the change could not be written to disk: the gateway's log says why")
	}
	return nil
}
