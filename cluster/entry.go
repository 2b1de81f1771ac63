package cluster

import (
	"bytes"
	"encoding/binary"
	"time"

	"watchtower/bridge"
)

// A message as an entry:
//
//	id 16 | time u64, Unix ns | type u8 | hint u8 | hops u8 | flags u8 | channel, sender, receiver uvarint |
//	name u8+ | via u8+ | milliseconds left to live uvarint | confirmed by: count u8, ids uvarint | picks (group.go) | data
//
// The last three but one are there if their flag is.
const (
	flagExpires   = 1 << 0
	flagConfirmed = 1 << 1
	flagPicks     = 1 << 2
	flagReport    = 1 << 3 // the sender wants to know how it went
)

const messageFixed = 16 + 8 + 4 + 1 + 1

// messageBytes is the length of a message's body.
func messageBytes(m *bridge.Message, left uint64) int {
	n := messageFixed + uvarintBytes(uint64(m.Channel)) + uvarintBytes(uint64(m.Sender)) + uvarintBytes(uint64(m.Receiver)) +
		min(len(m.Name), 255) + len(m.Via.String()) + len(m.Data)
	if !m.Expires.IsZero() {
		n += uvarintBytes(left)
	}
	if by := m.ConfirmedBy; len(by) > 0 {
		n++
		for _, id := range by[:min(len(by), 255)] {
			n += uvarintBytes(uint64(id))
		}
	}
	if len(m.Groups) > 0 {
		n += picksBytes(m.Groups)
	}
	return n
}

// lifeLeft is how long a message lives, in milliseconds.
func lifeLeft(m *bridge.Message, now time.Time) uint64 {
	if m.Expires.IsZero() {
		return 0
	}
	return uint64(max(0, m.Expires.Sub(now).Milliseconds()))
}

func appendMessage(b []byte, m *bridge.Message, left uint64) []byte {
	b = append(b, byte(kindMessage))
	b = binary.AppendUvarint(b, uint64(messageBytes(m, left)))
	b = append(b, m.ID[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(m.Time.UnixNano()))
	flags := byte(0)
	if !m.Expires.IsZero() {
		flags |= flagExpires
	}
	if len(m.ConfirmedBy) > 0 {
		flags |= flagConfirmed
	}
	if len(m.Groups) > 0 {
		flags |= flagPicks
	}
	if m.HasReport() {
		flags |= flagReport
	}
	b = append(b, byte(m.Type), byte(m.Hint), m.Hops, flags)
	b = binary.AppendUvarint(b, uint64(m.Channel))
	b = binary.AppendUvarint(b, uint64(m.Sender))
	b = binary.AppendUvarint(b, uint64(m.Receiver))
	b = appendText(b, m.Name)
	b = appendText(b, m.Via.String())
	if flags&flagExpires != 0 {
		b = binary.AppendUvarint(b, left)
	}
	if flags&flagConfirmed != 0 {
		by := m.ConfirmedBy[:min(len(m.ConfirmedBy), 255)]
		b = append(b, byte(len(by)))
		for _, id := range by {
			b = binary.AppendUvarint(b, uint64(id))
		}
	}
	if flags&flagPicks != 0 {
		b = appendPicks(b, m.Groups)
	}
	return append(b, m.Data...)
}

// spelled keeps texts that come again and again, so that each is made once.
type spelled map[string]string

// spelledMost bounds how many texts are kept.
const spelledMost = 4096

func (s spelled) text(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	if known, ok := s[string(b)]; ok { // makes no string
		return known
	}
	if len(s) >= spelledMost {
		clear(s)
	}
	text := string(b)
	s[text] = text
	return text
}

// readMessage makes a message of a body, which it does not keep, and says whether its sender wants
// a report. It returns nil if the body is none.
func readMessage(body []byte, names spelled, now time.Time) (m *bridge.Message, reported bool) {
	c := cursor{b: body}
	m = &bridge.Message{Wait: true}
	copy(m.ID[:], c.bytes(len(m.ID)))
	m.Time = time.Unix(0, int64(c.uint64()))
	m.Type, m.Hint, m.Hops = bridge.Type(c.byte()), bridge.Hint(c.byte()), c.byte()
	flags := c.byte()
	m.Channel, m.Sender, m.Receiver = bridge.Channel(c.number()), bridge.SenderID(c.number()), bridge.SenderID(c.number())
	m.Name = names.text(c.text())
	m.Via = bridge.ProtocolNamed(c.text())
	if flags&flagExpires != 0 {
		m.Expires = now.Add(time.Duration(min(c.uvarint(), 1<<40)) * time.Millisecond)
	}
	if flags&flagConfirmed != 0 {
		for range c.byte() {
			m.ConfirmedBy = append(m.ConfirmedBy, bridge.SenderID(c.number()))
		}
	}
	if flags&flagPicks != 0 {
		m.Groups = readPicks(&c)
	}
	send := m.Type == bridge.Send
	if c.bad || m.Type > bridge.Send || m.Hint > bridge.JSON || m.Channel == 0 || m.Sender == 0 || send != (m.Receiver != 0) {
		return nil, false
	}
	m.Data = bytes.Clone(c.b)
	return m, flags&flagReport != 0
}

// A membership as an entry:
//
//	channel, sender uvarint | flags u8 | name u8+ | via u8+
const (
	flagBroadcasts = 1 << 0
	flagSends      = 1 << 1
)

func appendMember(b []byte, m bridge.PeerMember) []byte {
	b = append(b, byte(kindMember))
	b = binary.AppendUvarint(b, uint64(memberBytes(m)))
	b = binary.AppendUvarint(b, uint64(m.Channel))
	b = binary.AppendUvarint(b, uint64(m.Sender))
	flags := byte(0)
	if m.Broadcasts {
		flags |= flagBroadcasts
	}
	if m.Sends {
		flags |= flagSends
	}
	b = append(b, flags)
	b = appendText(b, m.Name)
	return appendText(b, m.Via.String())
}

func memberBytes(m bridge.PeerMember) int {
	return uvarintBytes(uint64(m.Channel)) + uvarintBytes(uint64(m.Sender)) + 1 + 1 + min(len(m.Name), 255) + 1 + len(m.Via.String())
}

func readMember(body []byte) (m bridge.PeerMember, ok bool) {
	c := cursor{b: body}
	m.Channel, m.Sender = bridge.Channel(c.number()), bridge.SenderID(c.number())
	flags := c.byte()
	m.Broadcasts, m.Sends = flags&flagBroadcasts != 0, flags&flagSends != 0
	m.Name = string(c.text())
	m.Via = bridge.ProtocolNamed(c.text())
	return m, !c.bad && m.Channel != 0 && m.Sender != 0
}

// appendLeave adds who is made to leave which channel.
func appendLeave(b []byte, m bridge.PeerMember) []byte {
	b = append(b, byte(kindLeave))
	b = binary.AppendUvarint(b, uint64(leaveBytes(m)))
	b = binary.AppendUvarint(b, uint64(m.Channel))
	return binary.AppendUvarint(b, uint64(m.Sender))
}

func leaveBytes(m bridge.PeerMember) int {
	return uvarintBytes(uint64(m.Channel)) + uvarintBytes(uint64(m.Sender))
}

func readLeave(body []byte) (m bridge.PeerMember, ok bool) {
	c := cursor{b: body}
	m.Channel, m.Sender = bridge.Channel(c.number()), bridge.SenderID(c.number())
	return m, !c.bad
}

// A claim as an entry:
//
//	key 16 | time u64 | standing u8 | via u8+
func appendClaim(b []byte, c bridge.Claim) []byte {
	b = append(b, byte(kindOpen))
	b = binary.AppendUvarint(b, uint64(claimBytes(c)))
	b = append(b, c.Key[:]...)
	b = binary.BigEndian.AppendUint64(b, c.At)
	b = append(b, byte(c.Standing))
	return appendText(b, c.Via.String())
}

func claimBytes(c bridge.Claim) int { return len(c.Key) + 8 + 1 + 1 + len(c.Via.String()) }

func readClaim(body []byte) (claim bridge.Claim, ok bool) {
	c := cursor{b: body}
	copy(claim.Key[:], c.bytes(len(claim.Key)))
	claim.At, claim.Standing = c.uint64(), bridge.Standing(c.byte())
	claim.Via = bridge.ProtocolNamed(c.text())
	return claim, !c.bad && claim.Standing <= bridge.Live
}

// state is what a gateway says of itself, once a second at least.
type state struct {
	name  string
	clock int64 // Unix ms
	has   []having
}

// having is what a gateway has of another's stream: all before a number.
type having struct {
	slot   bridge.Slot
	run    uint64
	before uint64
}

func appendState(b []byte, s state) []byte {
	b = append(b, byte(kindState))
	b = binary.AppendUvarint(b, uint64(1+min(len(s.name), 255)+8+len(s.has)*(1+8+8)))
	b = appendText(b, s.name)
	b = binary.BigEndian.AppendUint64(b, uint64(s.clock))
	for _, h := range s.has {
		b = append(b, byte(h.slot))
		b = binary.BigEndian.AppendUint64(b, h.run)
		b = binary.BigEndian.AppendUint64(b, h.before)
	}
	return b
}

func readState(body []byte) (s state, ok bool) {
	c := cursor{b: body}
	s.name = string(c.text())
	s.clock = int64(c.uint64())
	for len(c.b) > 0 {
		s.has = append(s.has, having{bridge.Slot(c.byte()), c.uint64(), c.uint64()})
	}
	return s, !c.bad
}
