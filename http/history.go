package http

import (
	"container/list"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"

	"watchtower/bridge"
)

// history keeps the last messages of each channel, bounded in number, age and
// bytes. The fan-out adds each message and hands it to the members of the same
// moment, all under one lock; who joins under that lock gets everything once:
// what is here by replay, what comes later live.
type history struct {
	opts HistoryOptions
	now  func() time.Time

	mu       sync.Mutex
	begun    time.Time
	run      uint64 // by which places are known as this history's
	channels map[bridge.Channel]*past
	emptied  list.List // the pasts of which no record is kept, in the order in which they lost the last
	oldest   record    // the head of a ring of all records, in their order
	bytes    int
	position uint64 // of the newest record
	lost     loss   // of channels of which nothing else is known any more
}

// HistoryOptions bound what is kept for those who were away. With Messages 0
// nothing is.
type HistoryOptions struct {
	Messages int           // of each channel
	Age      time.Duration // of each message
	Bytes    int           // of all together

	// Store keeps where the history ended over a stop in good order. Nil: after every
	// start nobody knows what was said before.
	Store HistoryStore
}

// past is what is kept of one channel.
type past struct {
	channel bridge.Channel
	records []*record // in their order
	lost    loss
	emptied *list.Element // nil: a record is kept
}

// record is one message. Its links are in the ring of all.
type record struct {
	message    *bridge.Message
	position   uint64
	past       *past
	prev, next *record
}

// loss is the newest record that is not kept any more.
type loss struct {
	id       ulid.ULID
	position uint64 // 0: nothing was lost
	at       time.Time
}

// recordBytes is what a message takes besides its data.
const recordBytes = 300

// channelsKept bounds of how many channels it is known what was lost.
const channelsKept = 1 << 14

func newHistory(opts HistoryOptions, now func() time.Time) *history {
	h := &history{opts: opts, now: now, begun: now(), channels: map[bridge.Channel]*past{}}
	h.run = uint64(h.begun.UnixNano())
	h.oldest.prev, h.oldest.next = &h.oldest, &h.oldest
	return h
}

// addLocked keeps a message, and drops what is over the bounds.
func (h *history) addLocked(m *bridge.Message) {
	if h.opts.Messages == 0 {
		return
	}
	h.position++
	p := h.channels[m.Channel]
	if p == nil {
		p = &past{channel: m.Channel}
		h.channels[m.Channel] = p
	}
	if p.emptied != nil {
		h.emptied.Remove(p.emptied)
		p.emptied = nil
	}
	r := &record{message: m, position: h.position, past: p, prev: h.oldest.prev, next: &h.oldest}
	r.prev.next, h.oldest.prev = r, r
	p.records = append(p.records, r)
	h.bytes += size(m)
	if len(p.records) > h.opts.Messages {
		h.dropLocked(p.records[0])
	}
	cutoff := h.now().Add(-h.opts.Age)
	for old := h.oldest.next; old != &h.oldest && (h.bytes > h.opts.Bytes || old.message.Time.Before(cutoff)); old = h.oldest.next {
		h.dropLocked(old)
	}
	for len(h.channels) > channelsKept && h.emptied.Len() > 0 {
		h.forgetLocked(h.emptied.Remove(h.emptied.Front()).(*past))
	}
}

func size(m *bridge.Message) int { return recordBytes + len(m.Data) + len(m.Name) }

// dropLocked drops the oldest record of a channel.
func (h *history) dropLocked(r *record) {
	r.prev.next, r.next.prev = r.next, r.prev
	h.bytes -= size(r.message)
	r.past.lost = loss{r.message.ID, r.position, r.message.Time}
	r.past.records[0] = nil
	r.past.records = r.past.records[1:]
	if len(r.past.records) == 0 {
		r.past.records = nil
		r.past.emptied = h.emptied.PushBack(r.past)
	}
}

// forgetLocked forgets a channel of which nothing is kept.
func (h *history) forgetLocked(p *past) {
	if p.lost.position > h.lost.position {
		h.lost = p.lost
	}
	delete(h.channels, p.channel)
}

// since says from where on somebody wants to hear what was said.
type since struct {
	all bool
	id  ulid.ULID     // the last message that he has; zero: none
	at  *position     // where his stream began
	age time.Duration // if there is none of the others
}

// position is a place in the history: where a stream began of which no message has
// come yet. What a gateway knows of places ends with it, if it does not end in good order.
type position struct {
	run, number uint64
}

func (p position) String() string {
	return strconv.FormatUint(p.run, 36) + "-" + strconv.FormatUint(p.number, 36)
}

func parsePosition(text string) (position, bool) {
	run, number, found := strings.Cut(text, "-")
	r, err1 := strconv.ParseUint(run, 36, 64)
	n, err2 := strconv.ParseUint(number, 36, 64)
	return position{r, n}, found && err1 == nil && err2 == nil
}

// hereLocked is the place behind all that was said.
func (h *history) hereLocked() position { return position{h.run, h.position} }

// replay is what somebody has missed.
type replay struct {
	gaps     []bridge.Channel // where more was said than is known
	messages []*bridge.Message
}

// missedLocked returns what was said on channels since. Who it is for decides
// which sends are among it.
func (h *history) missedLocked(s since, channels []bridge.Channel, sender *bridge.Sender, noEcho bool) (missed replay) {
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
			if !ours || p.lost.position > from {
				missed.gaps = append(missed.gaps, c)
			}
		case s.id != ulid.ULID{}:
			from = p.after(s.id, at)
			if !known || p.lost.position > from {
				missed.gaps = append(missed.gaps, c)
			}
		case now.Add(-s.age).Before(h.begun), p.lost.position > 0 && !p.lost.at.Before(now.Add(-s.age)):
			missed.gaps = append(missed.gaps, c)
		}
		for _, r := range p.records {
			m := r.message
			echo := noEcho && m.Type == bridge.Broadcast && m.Sender == sender.ID()
			private := m.Type == bridge.Send && m.Receiver != sender.ID()
			if r.position > from && !m.Time.Before(oldest) && !m.Expired(now) && !echo && !private {
				found = append(found, r)
			}
		}
	}
	slices.SortFunc(found, func(a, b *record) int { return int(int64(a.position - b.position)) })
	for _, r := range found {
		missed.messages = append(missed.messages, r.message)
	}
	return missed
}

// placesLocked says where messages are, of those that are kept.
func (h *history) placesLocked(messages []*bridge.Message) map[*bridge.Message]uint64 {
	places, seen := map[*bridge.Message]uint64{}, map[*past]bool{}
	for _, m := range messages {
		p := h.channels[m.Channel]
		if p == nil || seen[p] {
			continue
		}
		seen[p] = true
		for _, r := range p.records {
			places[r.message] = r.position
		}
	}
	return places
}

// positionLocked finds a message: on the last of channels, if it was said on several
// of them, else on any other.
func (h *history) positionLocked(id ulid.ULID, channels []bridge.Channel) (known bool, at uint64) {
	for _, c := range channels {
		if p := h.channels[c]; p != nil {
			at = max(at, p.after(id, 0))
		}
	}
	if at > 0 {
		return true, at
	}
	for r := h.oldest.prev; r != &h.oldest; r = r.prev { // said elsewhere: what came after it is wanted
		if r.message.ID == id {
			return true, r.position
		}
	}
	for _, p := range h.channels {
		if p.lost.id == id {
			at = max(at, p.lost.position)
		}
	}
	return at > 0, at
}

// after returns the position of a message on this channel, or otherwise.
func (p *past) after(id ulid.ULID, otherwise uint64) uint64 {
	if p.lost.id == id && p.lost.position > 0 {
		return p.lost.position
	}
	for _, r := range p.records {
		if r.message.ID == id {
			return r.position
		}
	}
	return otherwise
}
