package bridge

import (
	"encoding/json"
	"hash/maphash"
	"maps"
	"slices"
	"time"

	"watchtower/bridge/outbound"
)

// Other gateways may share this one's channels. Then a Backplane takes what is said and who
// joins here, in their order, and the hub is told by Peers what others say and who joined
// there. Nothing of that is on disk: a gateway that is back tells it anew.

// Backplane carries what happens here to the other gateways. Its methods wait for no
// gateway, but for Say, Await, Reach and Ask.
type Backplane interface {
	// Say takes a message that was published here, in its publisher's goroutine, before any
	// member gets it. It waits, for as long as the message allows, while the other gateways
	// cannot keep up. Awaited says that somebody at another gateway is on the channel: then the message goes
	// at once. R writes it; nil: it is written soon.
	Say(m *Message, awaited bool, r *outbound.Round)
	// SayTopic takes a message on a client's own topic. It keeps nothing of it.
	SayTopic(m *TopicMessage, r *outbound.Round)
	// Await waits while the other gateways cannot keep up, until a time at most.
	Await(until time.Time)
	// Tell takes a membership that has changed. The hub's lock is held.
	Tell(PeerMember)
	// TellLeave takes a membership at other gateways that is to end: its channel and sender.
	TellLeave(PeerMember)
	// TellGroup takes a shared subscription here that has changed.
	TellGroup(PeerGroup)
	// Claim takes a claim of this gateway's that has changed. The lock of claims is held.
	Claim(Claim)
	// HasRoom reports whether Say would not wait now.
	HasRoom() bool
	// Idle reports whether all that was taken is on its way.
	Idle() bool
	// Own and Others describe this gateway and the others, for people.
	Own() Own
	Others() []Other
	Points
}

// Own is this gateway among the others.
type Own struct {
	Slot         Slot
	Made, Unsent uint64 // messages and changes here; those of them that were never sent
}

// Other is another gateway, as this one sees it.
type Other struct {
	Slot    Slot
	Name    string
	Heard   time.Time
	Here    bool          // it is not silent
	Known   bool          // its members and claims are known
	Ahead   time.Duration // of its clock, before ours
	Waiting int           // bytes of it that wait here
	Behind  int           // bytes of ours that it has not told us it has

	Messages uint64 // that it said
	Lost     uint64 // messages and changes that it kept no more when they were missed
	Resent   uint64 // that were missed, and asked for again
	Repeated uint64 // that came twice, and were dropped
}

// Own describes this gateway; ok is false if it is alone.
func (p Peers) Own() (own Own, ok bool) {
	if p.hub.backplane == nil {
		return own, false
	}
	return p.hub.backplane.Own(), true
}

// Others lists the other gateways that were heard, by slot.
func (p Peers) Others() []Other {
	if p.hub.backplane == nil {
		return nil
	}
	return p.hub.backplane.Others()
}

// Slot is the number of a gateway among those that share its channels, from 1. Slot 0 stands
// for this gateway.
type Slot uint8

// PeerMember is a sender on a channel at one gateway. It has left if it neither gets
// broadcasts nor can be sent to.
type PeerMember struct {
	Channel    Channel
	Sender     SenderID
	Name       string // empty: none
	Via        Protocol
	Broadcasts bool // it gets broadcasts: it is a member
	Sends      bool // it can be sent to
}

// peer is what another gateway said of its members.
type peer struct {
	name     string
	channels map[Channel]map[SenderID]PeerMember
	names    map[string]named
	shown    map[Channel]uint64 // hashes of the members topics that are retained
}

// named is the sender of a name, and on how many channels of its gateway it is.
type named struct {
	id SenderID
	on int
}

// SetBackplane connects the hub to other gateways, once, before anything is published or
// joined.
func (p Peers) SetBackplane(b Backplane) {
	p.hub.backplane, p.hub.peers, p.hub.abroad = b, map[Slot]*peer{}, map[Channel]int{}
	p.hub.claims.own, p.hub.claims.peers = map[ClaimKey]*ownClaim{}, map[Slot]map[ClaimKey]Claim{}
}

// Patience is until when a message's publisher may wait, for all queues together.
func (m *Message) Patience() time.Time { return m.patience }

// Inject delivers a message of another gateway, whose slot is in m.Gateway, to the members
// here. While a protocol is behind it waits, if the message says so, for at most the hub's
// patience.
func (p Peers) Inject(m *Message) {
	h := p.hub
	m.order, m.patience = h.order.Add(1), time.Now().Add(h.patience)
	_ = h.bus.Publish(m) // whoever is behind has counted it
	m.release()
}

// memberOf returns how a sender is on a channel here.
func memberOf(m *membership) PeerMember {
	one := PeerMember{Channel: m.channel.id, Sender: m.sender.id, Name: m.sender.Name(), Broadcasts: m.member(), Sends: m.reachable()}
	if len(m.attachments) > 0 {
		one.Via = m.attachments[0].Via
	}
	return one
}

// tellLocked tells the other gateways of a membership, if it has changed for them.
func (h *Hub) tellLocked(m *membership) {
	if h.backplane == nil {
		return
	}
	one := memberOf(m)
	if now := one.told(); now != m.told {
		m.told = now
		h.backplane.Tell(one)
	}
}

// told is what others know of a membership, besides its name. Zero: that it is over.
type told uint16

func (m PeerMember) told() (t told) {
	if m.Broadcasts {
		t |= 1
	}
	if m.Sends {
		t |= 2
	}
	if t != 0 {
		t |= told(m.Via) << 2
	}
	return t
}

// renamedLocked tells the other gateways that a sender has another name.
func (h *Hub) renamedLocked(s *Sender) {
	for _, on := range s.joined {
		on.v.told = 0
		h.tellLocked(on.v)
	}
}

// Members returns memberships here in the order of channels and senders, after the one of a
// channel and a sender: at most room of them. What changes later is told to the Backplane.
func (p Peers) Members(after PeerMember, room int) (some []PeerMember) {
	h := p.hub
	h.mu.RLock()
	defer h.mu.RUnlock()
	channels := slices.Sorted(maps.Keys(h.channels))
	first, _ := slices.BinarySearch(channels, after.Channel)
	for _, c := range channels[first:] {
		ids := slices.Sorted(maps.Keys(h.channels[c].members))
		for _, id := range ids {
			if c == after.Channel && id <= after.Sender {
				continue
			}
			if len(some) == room {
				return some
			}
			some = append(some, memberOf(h.channels[c].members[id]))
		}
	}
	return some
}

// Learn takes memberships of another gateway that have changed.
func (p Peers) Learn(at Slot, gateway string, members []PeerMember) {
	h := p.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	h.peerLocked(at, gateway).learn(h, members)
}

// Replace takes all memberships of another gateway.
func (p Peers) Replace(at Slot, gateway string, members []PeerMember) {
	h := p.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	h.forgetPeerLocked(at)
	h.peerLocked(at, gateway).learn(h, members)
}

// Forget drops the memberships and claims of a gateway that is gone, and returns how many
// memberships there were.
func (p Peers) Forget(at Slot) int {
	p.hub.forgetClaims(at)
	p.hub.mu.Lock()
	defer p.hub.mu.Unlock()
	return p.hub.forgetPeerLocked(at)
}

func (h *Hub) forgetPeerLocked(at Slot) (n int) {
	if h.peers[at] == nil {
		return 0
	}
	for c, members := range h.peers[at].channels {
		n += len(members)
		h.touchLocked(c)
	}
	for c := range h.peers[at].shown {
		h.orphans = append(h.orphans, h.tree.MembersAt(c, h.peers[at].name))
	}
	for c, members := range h.peers[at].channels {
		h.abroadLocked(c, -len(members))
	}
	delete(h.peers, at)
	return n
}

func (h *Hub) peerLocked(at Slot, gateway string) *peer {
	p := h.peers[at]
	if p == nil {
		p = &peer{name: gateway, channels: map[Channel]map[SenderID]PeerMember{}, names: map[string]named{}, shown: map[Channel]uint64{}}
		h.peers[at] = p
	}
	return p
}

// elsewhereTopicsLocked adds a channel's members topics of other gateways, and those of gateways
// that are gone, which have no payload.
func (h *Hub) elsewhereTopicsLocked(c Channel, payloads map[string][]byte) {
	for _, topic := range h.orphans {
		if payloads[topic] == nil {
			payloads[topic] = nil
		}
	}
	h.orphans = nil
	for _, p := range h.peers {
		ms := Members{Members: []Member{}}
		for id, m := range p.channels[c] {
			if m.Broadcasts {
				ms.Members = append(ms.Members, Member{ID: id, Name: m.Name, Via: m.Via.String()})
			}
		}
		topic := h.tree.MembersAt(c, p.name)
		was, shown := p.shown[c]
		if ms.cut(); ms.Count > 0 {
			payload, _ := json.Marshal(ms) // plain structs: cannot fail
			if now := maphash.Bytes(h.seed, payload); !shown || now != was {
				payloads[topic], p.shown[c] = payload, now
			}
		} else if shown {
			payloads[topic] = nil
			delete(p.shown, c)
		}
	}
}

func (p *peer) learn(h *Hub, members []PeerMember) {
	for _, m := range members {
		on := p.channels[m.Channel]
		if was, known := on[m.Sender]; known {
			p.unname(was)
		}
		before := len(on)
		if m.told() == 0 {
			if delete(on, m.Sender); len(on) == 0 {
				delete(p.channels, m.Channel)
			}
		} else {
			if on == nil {
				on = map[SenderID]PeerMember{}
				p.channels[m.Channel] = on
			}
			on[m.Sender] = m
			if m.Name != "" {
				p.names[m.Name] = named{m.Sender, p.names[m.Name].on + 1}
			}
		}
		h.abroadLocked(m.Channel, len(on)-before)
		h.touchLocked(m.Channel)
	}
}

// abroadLocked counts memberships at other gateways.
func (h *Hub) abroadLocked(c Channel, more int) {
	if h.abroad[c] += more; h.abroad[c] == 0 {
		delete(h.abroad, c)
	}
}

func (p *peer) unname(m PeerMember) {
	if m.Name == "" {
		return
	}
	n := p.names[m.Name]
	if n.on--; n.on <= 0 {
		delete(p.names, m.Name)
	} else {
		p.names[m.Name] = n
	}
}

// elsewhereLocked reports whether a sender is on a channel at another gateway, in the way that is
// asked.
func (h *Hub) elsewhereLocked(id SenderID, c Channel, how func(PeerMember) bool) bool {
	for _, p := range h.peers {
		if m, on := p.channels[c][id]; on && how(m) {
			return true
		}
	}
	return false
}

func (m PeerMember) isMember() bool    { return m.Broadcasts }
func (m PeerMember) isReachable() bool { return m.Sends }

// namedElsewhereLocked returns the sender of a name at another gateway, or 0.
func (h *Hub) namedElsewhereLocked(name string) SenderID {
	for _, p := range h.peers {
		if n, known := p.names[name]; known {
			return n.id
		}
	}
	return 0
}
