package history

import (
	"math"
	"slices"
	"time"

	"github.com/oklog/ulid/v2"

	"watchtower/bridge"
)

// Missed is what somebody has missed.
type Missed struct {
	Gaps     []bridge.Channel // where messages were missed that are not kept
	Messages []*bridge.Message
}

// Missed returns the messages on channels since s: of the sends only those to sender, and
// with noEcho none of its own broadcasts. A nil sender gets broadcasts alone.
func (m Moment) Missed(s Since, channels []bridge.Channel, sender *bridge.Sender, noEcho bool) (missed Missed) {
	h := m.h
	now := h.now()
	oldest := now.Add(-h.opts.Age)
	if s.age > 0 && now.Add(-s.age).After(oldest) {
		oldest = now.Add(-s.age)
	}
	known, at := h.positionLocked(s.id, channels)
	var found []*record
	for _, c := range channels {
		p := h.channels[c]
		if p == nil {
			p = &past{channel: c, lost: h.lost}
		}
		from := uint64(0)
		switch {
		case s.all:
		case s.at != nil:
			ours := s.at.run == h.hereLocked().run
			if ours {
				from = s.at.number
			}
			if !ours || p.lost.Position > from {
				missed.Gaps = append(missed.Gaps, c)
			}
		case s.id != ulid.ULID{}:
			from = p.after(s.id, at)
			if !known || p.lost.Position > from {
				missed.Gaps = append(missed.Gaps, c)
			}
			if h.opts.Overlap > 0 {
				from = min(from, p.before(ulid.Time(s.id.Time()).Add(-h.opts.Overlap)))
			}
		case now.Add(-s.age).Before(h.begun), p.lost.Position > 0 && !p.lost.At.Before(now.Add(-s.age)):
			missed.Gaps = append(missed.Gaps, c)
		}
		for r := range p.records.all() {
			m := r.message
			if r.position > from && (h.opts.Overlap == 0 || r.id != s.id) && !r.at.Before(oldest) && wanted(m, sender, noEcho, now) {
				found = append(found, r)
			}
		}
	}
	slices.SortFunc(found, func(a, b *record) int { return int(int64(a.position - b.position)) })
	for _, r := range found {
		missed.Messages = append(missed.Messages, r.message)
	}
	return missed
}

// Places returns the positions of the messages that are kept, and maybe of others.
func (m Moment) Places(messages []*bridge.Message) map[*bridge.Message]uint64 {
	places, seen := map[*bridge.Message]uint64{}, map[*past]bool{}
	for _, said := range messages {
		p := m.h.channels[said.Channel]
		if p == nil || seen[p] {
			continue
		}
		seen[p] = true
		for r := range p.records.all() {
			places[r.message] = r.position
		}
	}
	return places
}

// positionLocked returns the newest position of a message on channels. If the message was
// on none of them, any other channel counts.
func (h *History) positionLocked(id ulid.ULID, channels []bridge.Channel) (known bool, at uint64) {
	for _, c := range channels {
		if p := h.channels[c]; p != nil {
			at = max(at, p.after(id, 0))
		}
	}
	if at > 0 {
		return true, at
	}
	for e := range h.order.backward() { // it was on another channel
		if r := e.record(); r != nil && r.id == id {
			return true, r.position
		}
	}
	for _, p := range h.channels {
		if p.lost.ID == id {
			at = max(at, p.lost.Position)
		}
	}
	return at > 0, at
}

// after returns a message's position on this channel; otherwise if it is not there.
func (p *past) after(id ulid.ULID, otherwise uint64) uint64 {
	if p.lost.ID == id && p.lost.Position > 0 {
		return p.lost.Position
	}
	for r := range p.records.all() {
		if r.id == id {
			return r.position
		}
	}
	return otherwise
}

// before returns the position before the first message that is not older than a time.
func (p *past) before(t time.Time) uint64 {
	for r := range p.records.all() {
		if !r.at.Before(t) {
			return r.position - 1
		}
	}
	return math.MaxUint64
}

// Last returns the newest broadcast on a channel that is kept; nil: there is none.
func (m Moment) Last(c bridge.Channel) *bridge.Message {
	p := m.h.channels[c]
	if p == nil {
		return nil
	}
	for r := range p.records.backward() {
		if r.message.Type == bridge.Broadcast {
			return r.message
		}
	}
	return nil
}
