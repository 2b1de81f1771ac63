package bridge

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"sync/atomic"
)

// Sender is somebody with an id. The pointer is the identity: it stands for the same
// sender even after that was forgotten. From then on every verb refuses it.
type Sender struct {
	// What each message needs comes first, within one cache line (64 bytes).
	id     SenderID
	gone   bool                   // guarded by Hub.mu, like joined
	name   atomic.Pointer[string] // nil: none; written under Hub.mu
	joined byChannel[*membership]
	seen   atomic.Int64           // Unix seconds
	lost   atomic.Pointer[losses] // nil: nothing was

	// Guarded by Hub.mu:
	user      string // the configured user that it belongs to; empty: none
	voucher   string // what vouched for it (vouch.go)
	place     int    // in Hub.kept, from 1; 0: it is not remembered
	saved     int64  // when it was last seen, as on disk; Unix seconds
	web       bool   // registered over HTTP
	held      bool   // its name was held on the wire or over MQTT
	protected bool
	approved  bool // an operator protected it
	own       bool // its name was held by a key of its own
	ours      bool // it is a part of the gateway
	remote    bool // it is a client of a foreign broker
	left      departure
	via       Protocol          // by which it last registered or joined; zero: not since the start
	token     [sha256.Size]byte // zero: none
	holds     []*Hold           // few: a map for each sender would be a tenth of its memory
	passes    *passes           // those in use; nil: none
	speaker   *Hold             // the newest hold that claimed the name
	unsaved   *func() error     // waits for the newest change; nil: that is on disk
}

// ID returns the sender's id.
func (s *Sender) ID() SenderID { return s.id }

// Name returns the sender's name, or "".
func (s *Sender) Name() string {
	if name := s.name.Load(); name != nil {
		return *name
	}
	return ""
}

// setNameLocked gives the sender a name that nobody has.
func (h *Hub) setNameLocked(s *Sender, name string) {
	s.name.Store(&name)
	h.names[name] = s
}

// Seen notes that the sender was heard of, or reached, just now.
func (h *Hub) Seen(s *Sender) { s.seen.Store(h.now().Unix()) }

// remembered reports whether the sender outlives its holds: it registered, or its name
// has joined a channel or has a session that outlives connections.
func (s *Sender) remembered() bool { return s.place > 0 }

// Credentials are what Register returns.
type Credentials struct {
	ID    SenderID
	Token string
}

// Registration asks for a sender with a token (docs/http.md, "Who may use an id"). The secret
// key was shown before.
type Registration struct {
	Via       Protocol
	Name      string // optional
	Protected bool   // the name is registered again only with its token
	Token     string // of a protected name
	Remote    bool   // it is a client of a foreign broker, which may speak there under its id
}

// Register returns a sender's id and token, once the registration is on disk.
func (h *Hub) Register(r Registration) (Credentials, error) {
	if r.Name != "" && !ValidName(r.Name) {
		return Credentials{}, fault(InvalidName, "name", "must be 1 to 64 of A–Z a–z 0–9 _ . : -")
	}
	if r.Protected && r.Remote {
		return Credentials{}, fault(InvalidName, "protected", "cannot be together with remote: a foreign broker may let others speak under its id")
	}
	if r.Protected && r.Name == "" {
		return Credentials{}, fault(InvalidName, "protected", "needs a name: only a name can be given again")
	}
	token := newToken()
	h.mu.Lock()
	s, err := h.webSenderLocked(r)
	if err != nil {
		h.mu.Unlock()
		return Credentials{}, err
	}
	s.web = true
	s.via = r.Via
	s.protected = s.protected || r.Protected
	s.remote = s.remote || r.Remote
	h.outsideLocked(s, true)
	h.setTokenLocked(s, hashToken(token))
	wait := h.commitLocked(s)
	h.mu.Unlock()
	h.Seen(s)
	if err := wait(); err != nil {
		return Credentials{}, storeFault("the registration", err)
	}
	return Credentials{ID: s.id, Token: token}, nil
}

// webSenderLocked returns the sender for a registration, and has it remembered.
func (h *Hub) webSenderLocked(r Registration) (*Sender, error) {
	s := h.names[r.Name]
	byToken := s != nil && r.Token != "" && h.tokens[hashToken(r.Token)] == s
	if err := h.mayNameLocked(r.Name, ""); err != nil && !byToken {
		return nil, err
	}
	if s != nil && (s.protected || h.hasKeyLocked(s) || h.opts.RequireToken && s.token != [sha256.Size]byte{}) && !byToken {
		return nil, fault(NameProtected, "name", "%q is protected: it is given again only against its token (Authorization: Bearer …)", r.Name)
	}
	if r.Remote && s != nil && !s.remote && (s.held || s.protected || len(s.joined) > 0) {
		return nil, fault(InvalidName, "name", "%q is a device of this gateway: nobody else speaks under its id; choose another name for the foreign broker's client, or forget that sender first", r.Name)
	}
	if s == nil {
		s = h.newSenderLocked(r.Name)
	}
	if !h.keepLocked(s, r.Via) {
		if len(s.holds) == 0 {
			h.forgetLocked(s)
		}
		return nil, tooManySenders(h.opts.Limits.Senders)
	}
	return s, nil
}

// Departed gets one value when senders with names have been forgotten, however many they
// are. Known tells which. The channel is for one reader.
func (d Directory) Departed() <-chan struct{} { return d.hub.departed }

// Known reports whether there is a sender of that id.
func (h *Hub) Known(id SenderID) bool {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.senders[id] != nil
}

// SenderByID returns the sender with that id.
func (h *Hub) SenderByID(id SenderID) (*Sender, bool) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	s, ok := h.senders[id]
	return s, ok
}

// Forget deletes a sender: its attachments and holds end, its token is no longer valid,
// its name is free. It returns once that is on disk.
func (h *Hub) Forget(s *Sender) error {
	h.mu.Lock()
	if err := s.mayManageLocked(); err != nil {
		h.mu.Unlock()
		return err
	}
	var ended []*Attachment
	var holds []*Hold
	if !s.gone {
		ended, holds = h.endLocked(s)
	}
	wait := s.unsaved // another call may have deleted it, and wait as well
	h.mu.Unlock()
	finish(ended, holds)
	if wait == nil {
		return nil
	}
	if err := (*wait)(); err != nil {
		return storeFault("that the sender is forgotten", err)
	}
	return nil
}

func (h *Hub) forgetLocked(s *Sender) []*Attachment {
	ended := h.leaveAllLocked(s)
	s.gone = true
	h.outsideLocked(s, false)
	delete(h.senders, s.id)
	if name := s.Name(); name != "" {
		delete(h.names, name)
		select {
		case h.departed <- struct{}{}:
		default:
		}
	}
	if s.lossesOf().end() {
		h.counters.gone.add(s)
	}
	delete(h.tokens, s.token)
	s.endPassesLocked()
	if s.remembered() && h.opts.Store != nil {
		deleted := h.opts.Store.Delete(s.id)
		s.unsaved = &deleted
	}
	h.letGoLocked(s)
	return ended
}

// leaveAllLocked ends all memberships of a sender. It returns the ended attachments, for
// endAll.
func (h *Hub) leaveAllLocked(s *Sender) (ended []*Attachment) {
	for len(s.joined) > 0 { // from the end: the others stay where they are
		ended = append(ended, h.leaveLocked(s.joined[len(s.joined)-1].v)...)
	}
	return ended
}

func endAll(as []*Attachment) {
	for _, a := range as {
		if a.Ended != nil {
			a.Ended()
		}
	}
}

func (h *Hub) newSenderLocked(name string) *Sender {
	s := &Sender{id: h.idForLocked(name), user: h.userOfLocked(name)}
	s.voucher = h.voucherOf(s.user)
	h.senders[s.id] = s
	if name != "" {
		h.setNameLocked(s, name)
	}
	return s
}

// RandomUint32 returns a number from the system's cryptographic source.
func RandomUint32() uint32 {
	var b [4]byte
	_, _ = rand.Read(b[:]) // never fails: it ends the program instead
	return binary.LittleEndian.Uint32(b[:])
}

// TokenPrefix is how every token of a sender begins.
const TokenPrefix = "wt_"

// liveLocked reports whether the sender is connected. A session that waits for its client is
// no connection, nor is a stream that has ended, nor a callback: its sender is seen when it
// accepts a delivery.
func (h *Hub) liveLocked(s *Sender) bool {
	if slices.ContainsFunc(s.holds, func(hold *Hold) bool { return !hold.away.Load() }) {
		return true
	}
	for _, on := range s.joined {
		for _, a := range on.v.attachments {
			if a.Returns && a.Address == "" && a.lingers == 0 { // all others have holds
				return true
			}
		}
	}
	return false
}
