package history

import (
	"time"

	"github.com/oklog/ulid/v2"

	"watchtower/bridge"
)

// Place is where a receiver is on a channel that gateways share, in words that each of them
// understands. The messages of one gateway have the same order everywhere.
type Place struct {
	From time.Time                 `json:"from"`          // what is older it has
	Last map[bridge.Slot]ulid.ULID `json:"last,omitzero"` // the last that it has of each gateway
}

// Clocks of gateways may differ by skew. What came of a gateway before the last that is known of it
// was published at most lateMost before.
const (
	skew     = 2 * time.Second
	lateMost = 30 * time.Second
)

// SlotOf returns the gateway that took a message.
func (h *History) SlotOf(m *bridge.Message) bridge.Slot {
	if m.Gateway == 0 {
		return h.opts.Slot
	}
	return m.Gateway
}

// Idle reports whether all that was published here, or came from other gateways, is handed out.
func (h *History) Idle() bool { return h.link.Idle() }

// Place is the place of a receiver that has missed these messages on a channel, in their order,
// and no other.
func (m Moment) Place(c bridge.Channel, missed []*bridge.Message) Place {
	h := m.h
	place := Place{From: h.now(), Last: map[bridge.Slot]ulid.ULID{}}
	first := map[bridge.Slot]*bridge.Message{}
	for _, said := range missed {
		if said.Channel != c {
			continue
		}
		if said.Time.Before(place.From) {
			place.From = said.Time
		}
		if slot := h.SlotOf(said); first[slot] == nil {
			first[slot] = said
		}
	}
	p := h.channels[c]
	if p == nil {
		return place
	}
	over := map[bridge.Slot]bool{}
	for r := range p.records.all() {
		slot := h.SlotOf(r.message)
		if over[slot] = over[slot] || r.message == first[slot]; !over[slot] {
			place.Last[slot] = r.id
		}
	}
	return place
}

// After returns the messages on a channel after a place, as Missed does, and whether some of them
// are not kept.
func (m Moment) After(place Place, c bridge.Channel, sender *bridge.Sender, noEcho bool) (after []*bridge.Message, gap bool) {
	h := m.h
	now := h.now()
	gap = place.From.Before(h.started)
	p := h.channels[c]
	if p == nil {
		return nil, gap
	}
	gap = gap || p.lost.Position > 0 && !p.lost.At.Before(place.From)
	at := map[bridge.Slot]uint64{}
	for r := range p.records.all() {
		if slot := h.SlotOf(r.message); r.id == place.Last[slot] {
			at[slot] = r.position
		}
	}
	for r := range p.records.all() {
		said := r.message
		slot := h.SlotOf(said)
		last, known := place.Last[slot]
		has := said.Time.Before(place.From.Add(-skew))
		if at[slot] > 0 {
			has = r.position <= at[slot]
		} else if known {
			has = said.ID.Compare(last) <= 0 || said.Time.Before(place.From.Add(-lateMost))
		}
		if !has && wanted(said, sender, noEcho, now) {
			after = append(after, said)
		}
	}
	return after, gap
}

// wanted reports whether a message is for a sender, and no echo that it refuses. A nil sender gets
// broadcasts alone.
func wanted(m *bridge.Message, sender *bridge.Sender, noEcho bool, now time.Time) bool {
	echo := noEcho && m.Type == bridge.Broadcast && m.Sender == sender.ID()
	private := m.Type == bridge.Send && (sender == nil || m.Receiver != sender.ID())
	return !echo && !private && !m.Expired(now)
}
