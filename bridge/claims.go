package bridge

import (
	"crypto/sha256"
	"encoding/binary"
	"maps"
	"slices"
	"sync"
	"time"
)

// Some things are at one gateway of a space at a time: an MQTT client's session, and the device
// that speaks for a name. A gateway claims such a thing when a client comes with it. The newest
// claim counts, and whoever had the thing before gives it up. No gateway asks another for that, so
// while they are cut off from each other, both have it.

// ClaimKey stands for what is claimed.
type ClaimKey [16]byte

// NewClaimKey makes a key of texts.
func NewClaimKey(parts ...string) (k ClaimKey) {
	sum := sha256.New()
	for _, part := range parts {
		sum.Write(binary.AppendUvarint(nil, uint64(len(part))))
		sum.Write([]byte(part))
	}
	copy(k[:], sum.Sum(nil))
	return k
}

// Standing is how a gateway has what it claims. It decides between claims of one time: the higher
// one counts.
type Standing uint8

// The standings, with their values on the wire.
const (
	GivenUp Standing = iota // it has it no more
	Waiting                 // its client is away
	Adopted                 // its client is away, and came to a gateway that is gone
	Live                    // its client is there
)

// Claim says that a gateway has something, or has it no more.
type Claim struct {
	Key ClaimKey
	// At is when the client came: milliseconds since 1970 times 65,536, and more than that of each
	// claim that was heard before (a hybrid logical clock).
	At       uint64
	Standing Standing
	Via      Protocol // of the client
}

// claimsMostAt bounds Claim.At, so that the clock never ends.
const claimsMostAt = 1 << 63

// beats reports whether a gateway's claim counts more than another's.
func (c Claim) beats(at Slot, other Claim, otherAt Slot) bool {
	switch {
	case c.At != other.At:
		return c.At > other.At
	case c.Standing != other.Standing:
		return c.Standing > other.Standing
	}
	return at < otherAt
}

// claims are this gateway's, and those of the others.
type claims struct {
	mu    sync.Mutex // may be taken while the hub's is held
	clock uint64     // the newest At that was made or heard
	own   map[ClaimKey]*ownClaim
	peers map[Slot]map[ClaimKey]Claim
}

type ownClaim struct {
	Claim
	lost func(by Claim)
}

// Claim claims something: with a time of 0 for a client that has just come. It returns the claim
// with its time. Lost is called once, without locks, if another gateway's claim counts more; not
// after Unclaim. A gateway that is alone claims nothing.
func (p Peers) Claim(c Claim, lost func(by Claim)) Claim {
	h := p.hub
	if h.backplane == nil {
		return c
	}
	h.claims.mu.Lock()
	defer h.claims.mu.Unlock()
	if c.At == 0 {
		c.At = h.tickLocked()
	}
	h.claims.clock = max(h.claims.clock, c.At)
	if was := h.claims.own[c.Key]; was == nil || was.Claim != c {
		h.backplane.Claim(c)
	}
	h.claims.own[c.Key] = &ownClaim{c, lost}
	return c
}

// Tick returns a time for a claim: later than all claims that were heard, and than another one.
func (p Peers) Tick(than uint64) uint64 {
	h := p.hub
	h.claims.mu.Lock()
	defer h.claims.mu.Unlock()
	if than < claimsMostAt {
		h.claims.clock = max(h.claims.clock, than)
	}
	return h.tickLocked()
}

// tickLocked is Tick. The caller holds claims.mu.
func (h *Hub) tickLocked() uint64 {
	h.claims.clock = max(h.claims.clock+1, uint64(h.now().UnixMilli())<<16)
	return h.claims.clock
}

// Stand changes the standing of what this gateway has claimed.
func (p Peers) Stand(key ClaimKey, s Standing) {
	h := p.hub
	if h.backplane == nil {
		return
	}
	h.claims.mu.Lock()
	defer h.claims.mu.Unlock()
	if mine := h.claims.own[key]; mine != nil && mine.Standing != s {
		mine.Standing = s
		h.backplane.Claim(mine.Claim)
	}
}

// Unclaim gives up what this gateway has claimed.
func (p Peers) Unclaim(key ClaimKey) {
	h := p.hub
	if h.backplane == nil {
		return
	}
	h.claims.mu.Lock()
	defer h.claims.mu.Unlock()
	h.unclaimLocked(key)
}

// unclaimLocked gives a claim up. The caller holds claims.mu.
func (h *Hub) unclaimLocked(key ClaimKey) {
	if mine := h.claims.own[key]; mine != nil {
		delete(h.claims.own, key)
		mine.Standing = GivenUp
		h.backplane.Claim(mine.Claim)
	}
}

// Claiming reports whether this gateway claims something.
func (p Peers) Claiming(key ClaimKey) bool {
	p.hub.claims.mu.Lock()
	defer p.hub.claims.mu.Unlock()
	return p.hub.claims.own[key] != nil
}

// Claimed returns the claim of another gateway that counts most among the others; ok is false if
// there is none.
func (p Peers) Claimed(key ClaimKey) (at Slot, c Claim, ok bool) {
	h := p.hub
	if h.backplane == nil {
		return 0, c, false
	}
	h.claims.mu.Lock()
	defer h.claims.mu.Unlock()
	for slot, all := range h.claims.peers {
		if other, claimed := all[key]; claimed && (!ok || other.beats(slot, c, at)) {
			at, c, ok = slot, other, true
		}
	}
	return at, c, ok
}

// Claims returns what this gateway claims, in the order of the keys, after a key: at most room
// claims. What changes later is told to the Backplane.
func (p Peers) Claims(after ClaimKey, room int) (some []Claim) {
	h := p.hub
	h.claims.mu.Lock()
	defer h.claims.mu.Unlock()
	keys := slices.SortedFunc(maps.Keys(h.claims.own), func(a, b ClaimKey) int { return slices.Compare(a[:], b[:]) })
	for _, key := range keys {
		if len(some) == room {
			break
		}
		if slices.Compare(key[:], after[:]) > 0 {
			some = append(some, h.claims.own[key].Claim)
		}
	}
	return some
}

// LearnClaims takes claims of another gateway. It returns what the caller calls for those of
// this gateway that are lost. That may take a second each.
func (p Peers) LearnClaims(at Slot, all []Claim) (lost []func()) {
	h := p.hub
	h.claims.mu.Lock()
	defer h.claims.mu.Unlock()
	for _, c := range all {
		if c.At >= claimsMostAt {
			continue
		}
		h.claims.clock = max(h.claims.clock, c.At)
		if c.Standing == GivenUp {
			delete(h.claims.peers[at], c.Key)
			continue
		}
		if h.claims.peers[at] == nil {
			h.claims.peers[at] = map[ClaimKey]Claim{}
		}
		h.claims.peers[at][c.Key] = c
		if mine := h.claims.own[c.Key]; mine != nil && c.beats(at, mine.Claim, h.opts.Slot) {
			h.unclaimLocked(c.Key)
			lost = append(lost, func() { mine.lost(c) })
		}
	}
	return lost
}

// ReplaceClaims takes all claims of another gateway, as LearnClaims does.
func (p Peers) ReplaceClaims(at Slot, all []Claim) (lost []func()) {
	p.hub.forgetClaims(at)
	return p.LearnClaims(at, all)
}

func (h *Hub) forgetClaims(at Slot) {
	h.claims.mu.Lock()
	defer h.claims.mu.Unlock()
	delete(h.claims.peers, at)
}

// nameKey is what a hold claims that speaks for its sender's name: each gateway gives a name
// the same id.
func nameKey(id SenderID) ClaimKey {
	return NewClaimKey("name", string(binary.BigEndian.AppendUint32(nil, uint32(id))))
}

// speakLocked makes a hold the one that speaks for its sender's name, at all gateways.
func (h *Hub) speakLocked(hold *Hold) {
	hold.sender.speaker = hold
	p := Peers{h}
	p.Claim(Claim{Key: nameKey(hold.sender.id), Standing: Live, Via: Protocol(max(hold.via.Load()-1, 0))}, func(by Claim) {
		if end := h.outspoken(hold, by); end != nil {
			end()
		}
	})
}

// silenceLocked ends that a hold speaks for its sender's name.
func (h *Hub) silenceLocked(hold *Hold) {
	if s := hold.sender; s.speaker == hold {
		s.speaker = nil
		Peers{h}.Unclaim(nameKey(s.id))
	}
}

// outspoken takes the name from a hold, since a newer one has it at another gateway. It returns
// what to call then, or nil.
func (h *Hub) outspoken(hold *Hold, by Claim) (end func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if hold.sender.speaker != hold {
		return nil
	}
	hold.sender.speaker = nil
	h.rivalsElsewhereLocked(hold, by.Via)
	if of := h.bus.Protocol(); by.Via == of && hold.via.Load() == int32(of)+1 {
		return nil // two of the bus's clients with one name have one session, which the bus claims, too
	}
	return hold.displaced
}

// SpeaksElsewhere returns the protocol by which a device of another gateway speaks for a sender's
// name; 0: none does.
func (p Peers) SpeaksElsewhere(id SenderID) Protocol {
	_, c, _ := p.Claimed(nameKey(id))
	return c.Via
}

// ClaimedAt is when a claim was made, by its gateway's clock or a clock ahead of it.
func (c Claim) ClaimedAt() time.Time { return time.UnixMilli(int64(c.At >> 16)) }
