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
//	ring.go     a queue of values that allocates nothing while it keeps its length
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
	"math"
	"sort"
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
	emptied  list.List   // channels without a record, in the order in which they lost the last one
	order    ring[entry] // all records in their order, and some that are dropped already
	kept     int         // how many records there are
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
	records ring[record] // in their order
	lost    loss
	emptied *list.Element // nil: a record is kept
}

// record is one message. It has what a drop needs, so a drop does not touch the message, which
// is in no processor's cache any more.
type record struct {
	message  *bridge.Message
	position uint64
	id       ulid.ULID
	at       time.Time
	size     int
}

// entry is a record's place in the order of all. It is stale once the record is dropped.
type entry struct {
	past     *past
	position uint64
}

// loss is the newest record that is not kept any more.
type loss struct {
	ID       ulid.ULID
	Position uint64 // 0: nothing was lost
	At       time.Time
}

// recordBytes is how many bytes a message takes besides its data and name: 240 for itself, 80 for
// its record and its entry, and the rings' room, of which a quarter is free on average.
const recordBytes = 350

// entriesLeast is up to how many entries the stale ones are no reason to go through all.
const entriesLeast = 256

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
	if p.records.count >= h.opts.Messages {
		h.loseLocked(p)
	}
	size := Size(m)
	*p.records.push(h.opts.Messages) = record{m, h.position, m.ID, m.Time, size}
	*h.order.push(math.MaxInt) = entry{p, h.position}
	h.kept++
	h.bytes += size
	h.boundLocked(m)
	for len(h.channels) > channelsRemembered && h.emptied.Len() > 0 {
		h.forgetLocked(h.emptied.Remove(h.emptied.Front()).(*past))
	}
}

// Size is how many bytes a message that is kept takes.
func Size(m *bridge.Message) int { return recordBytes + len(m.Data) + len(m.Name) }

// boundLocked drops the oldest records of all while there are too many bytes, or the oldest is too
// old. The clock costs as much as all the rest. So it is read only if the newest message came half
// of the age after the oldest, or later. If it has waited that long on its way, the next one drops
// what is too old; replays read the clock themselves. The time of another gateway's message is by
// another clock, and says nothing.
func (h *History) boundLocked(newest *bridge.Message) {
	var cutoff time.Time // zero: the clock was not read
	for h.kept > 0 {
		p := h.oldestLocked()
		if h.bytes <= h.opts.Bytes {
			at := p.records.at(0).at
			if newest.Gateway == 0 && newest.Time.Sub(at) < h.opts.Age/2 {
				break
			}
			if cutoff.IsZero() {
				cutoff = h.now().Add(-h.opts.Age)
			}
			if !at.Before(cutoff) {
				break
			}
		}
		h.dropLocked(p)
	}
	if h.order.count > max(2*h.kept, entriesLeast) {
		h.sweepLocked()
	}
}

// oldestLocked returns the channel of the oldest record of all, of which there must be one.
func (h *History) oldestLocked() *past {
	for h.order.at(0).stale() {
		h.order.pop()
	}
	return h.order.at(0).past
}

// stale reports whether an entry's record is dropped. A channel drops the oldest first.
func (e *entry) stale() bool {
	records := &e.past.records
	return records.count == 0 || e.position < records.at(0).position
}

// record returns an entry's record; nil: it is dropped.
func (e *entry) record() *record {
	if e.stale() {
		return nil
	}
	records := &e.past.records
	i := sort.Search(records.count, func(i int) bool { return records.at(i).position >= e.position })
	return records.at(i)
}

// sweepLocked removes the stale entries. At least as many were added since the last time as it
// leaves, so it costs a fixed time for each message.
func (h *History) sweepLocked() {
	for range h.order.count {
		e := *h.order.at(0)
		h.order.pop()
		if !e.stale() {
			*h.order.push(math.MaxInt) = e
		}
	}
}

// loseLocked drops the oldest record of a channel, for which another one comes.
func (h *History) loseLocked(p *past) {
	r := p.records.at(0)
	h.kept--
	h.bytes -= r.size
	p.lost = r.loss()
	p.records.pop()
}

// dropLocked drops the oldest record of a channel.
func (h *History) dropLocked(p *past) {
	h.loseLocked(p)
	p.records.trim(0)
	h.order.trim(2 * entriesLeast)
	if p.records.count == 0 {
		p.emptied = h.emptied.PushBack(p)
	}
}

func (r *record) loss() loss { return loss{r.id, r.position, r.at} }

// forgetLocked forgets a channel of which nothing is kept.
func (h *History) forgetLocked(p *past) {
	if p.lost.Position > h.lost.Position {
		h.lost = p.lost
	}
	delete(h.channels, p.channel)
}

// hereLocked is the position after the newest message.
func (h *History) hereLocked() Position { return Position{h.run, h.position} }
