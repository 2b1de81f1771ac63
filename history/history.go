// Package history keeps messages for receivers that were away, and hands new messages to
// those that are there. A receiver that joins by it gets every message once: earlier ones
// by replay, later ones live.
//
// The hub gives it each message once, by a link of its own. Protocols that replay follow
// it, and their members join by it: streams, mailboxes and callbacks. The kept messages
// are bounded in number, age and bytes. A receiver that has missed a message that is no
// longer kept is told of a gap.
//
//	history.go  what is kept of each channel, and its bounds
//	follow.go   the link, the followers, and how a receiver joins
//	replay.go   what a receiver has missed
//	place.go    where a receiver is, in words that all gateways of a space understand
//	since.go    from where on a receiver wants messages: an id, a position, an age
//	end.go      where the history ended, saved over a regular stop
//
// Other packages know how a message is written, and who is a member.
package history

import (
	"container/list"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/sirupsen/logrus"

	"watchtower/bridge"
	"watchtower/config"
)

// History keeps the last messages of each channel. Under one lock, the fan-out adds each
// message and hands it to the members. A receiver that joins under that lock gets every
// message once: kept ones by replay, later ones live.
type History struct {
	hub       *bridge.Hub
	opts      Options
	now       func() time.Time
	link      *bridge.Link
	followers []following

	mu       sync.Mutex
	started  time.Time // in this process
	begun    time.Time
	run      uint64 // marks positions as this history's
	channels map[bridge.Channel]*past
	emptied  list.List // channels without a record, in the order in which they lost the last one
	oldest   record    // the head of a ring of all records, in their order
	bytes    int
	position uint64 // of the newest record
	lost     loss   // of the channels that were forgotten
}

// Options bound what is kept. With Messages 0 nothing is kept.
type Options struct {
	config.History

	// Store keeps where the history ended over a regular stop. Nil: after a start nothing
	// is known of earlier messages.
	Store Store

	// Overlap is by how much a replay after a message begins earlier. Gateways that share their
	// channels may have the messages of two senders in another order: a client that has come from
	// one to the other gets some twice, and misses none. 0: none does.
	Overlap time.Duration

	Slot bridge.Slot // of this gateway, among those that share its channels; 0: it is alone

	Clock func() time.Time // nil: time.Now
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
	ID       ulid.ULID
	Position uint64 // 0: nothing was lost
	At       time.Time
}

// recordBytes is how many bytes a message takes besides its data and name.
const recordBytes = 300

// channelsRemembered bounds the number of channels of which the history knows what was lost.
const channelsRemembered = 1 << 14

// New returns a history that continues the one before it, if that was saved.
func New(hub *bridge.Hub, opts Options, log *logrus.Logger) *History {
	if opts.Clock == nil {
		opts.Clock = time.Now
	}
	h := &History{hub: hub, opts: opts, now: opts.Clock, channels: map[bridge.Channel]*past{}}
	h.started = opts.Clock()
	h.begun = h.started
	h.run = uint64(h.begun.UnixNano())
	h.oldest.prev, h.oldest.next = &h.oldest, &h.oldest
	if err := h.goOn(); err != nil { // all that it costs is a gap for everybody
		log.WithError(err).Warn("where the history ended is not known")
	}
	return h
}

// addLocked keeps a message, and drops what is over the bounds.
func (h *History) addLocked(m *bridge.Message) {
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
	h.bytes += Size(m)
	if len(p.records) > h.opts.Messages {
		h.dropLocked(p.records[0])
	}
	cutoff := h.now().Add(-h.opts.Age)
	for old := h.oldest.next; old != &h.oldest && (h.bytes > h.opts.Bytes || old.message.Time.Before(cutoff)); old = h.oldest.next {
		h.dropLocked(old)
	}
	for len(h.channels) > channelsRemembered && h.emptied.Len() > 0 {
		h.forgetLocked(h.emptied.Remove(h.emptied.Front()).(*past))
	}
}

// Size is how many bytes a message that is kept takes.
func Size(m *bridge.Message) int { return recordBytes + len(m.Data) + len(m.Name) }

// dropLocked drops the oldest record of a channel.
func (h *History) dropLocked(r *record) {
	r.prev.next, r.next.prev = r.next, r.prev
	h.bytes -= Size(r.message)
	r.past.lost = loss{r.message.ID, r.position, r.message.Time}
	r.past.records[0] = nil
	r.past.records = r.past.records[1:]
	if len(r.past.records) == 0 {
		r.past.records = nil
		r.past.emptied = h.emptied.PushBack(r.past)
	}
}

// forgetLocked forgets a channel of which nothing is kept.
func (h *History) forgetLocked(p *past) {
	if p.lost.Position > h.lost.Position {
		h.lost = p.lost
	}
	delete(h.channels, p.channel)
}

// hereLocked is the position after the newest message.
func (h *History) hereLocked() Position { return Position{h.run, h.position} }
