package remote

import (
	"encoding/binary"
	"time"

	"watchtower/bridge"
)

// A broker that is near acknowledges within nearFor. What is said at QoS 1 while it has something to
// acknowledge is gathered, until it has, or until there are gathered messages. To write each by
// itself would cost it and the gateway more than all else, and the broker takes one after the other
// anyway.
const (
	nearFor  = 2 * time.Millisecond
	gathered = 10
)

// dueLocked reports whether something is to be sent now. Most is how many messages may be under way
// then, if the broker is not near.
func (o *outbox) dueLocked(most int) bool {
	switch waiting := len(o.waiting) - o.head; {
	case !o.up || waiting == 0:
		return false
	case o.waiting[o.head].idAt == 0 || len(o.flying) == 0:
		return true
	case o.near:
		some := o.someLocked()
		return waiting >= some && len(o.flying) <= o.most-some
	}
	return len(o.flying) <= most
}

// someLocked is how many messages are worth a write to a broker that is near.
func (o *outbox) someLocked() int { return max(min(gathered, o.most/2), 1) }

// acksDue returns how many acknowledgements have to come until something can be done: until more is
// to be sent, or else all; 0: none is due.
func (o *outbox) acksDue() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	due := len(o.flying)
	switch waiting := len(o.waiting) - o.head; {
	case waiting == 0:
	case !o.near && due > o.most/2:
		due -= o.most / 2
	case o.near && waiting >= o.someLocked():
		due -= o.most - o.someLocked()
	}
	return max(due, 0)
}

// flyLocked notes that a packet is sent.
func (o *outbox) flyLocked(it *item, now time.Duration) {
	id := binary.BigEndian.Uint16(it.b[it.idAt:])
	if id == 0 {
		for {
			if o.lastID++; o.lastID >= askIDs { // those from there on are for SUBSCRIBE
				o.lastID = 1
			}
			if o.flying[o.lastID] == nil {
				break
			}
		}
		id = o.lastID
		binary.BigEndian.PutUint16(it.b[it.idAt:], id)
	}
	if len(o.flying) == 0 {
		o.moved = now
	}
	if o.timedID == 0 {
		o.timedID, o.timedAt = id, now
	}
	o.flying[id] = it
	o.order = append(o.order, id)
	if len(o.order) > 2*o.most+1024 {
		kept := o.order[:0]
		for _, id := range o.order {
			if o.flying[id] != nil {
				kept = append(kept, id)
			}
		}
		o.order = kept
	}
}

// ackedAll ends the packets of the plain PUBACKs that b begins with, and returns their bytes. More says
// that more is to be sent now.
func (o *outbox) ackedAll(b []byte, version byte) (used int, more bool) {
	id, n := plainAck(b, version)
	if n == 0 {
		return 0, false
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for now := o.now(); n > 0; id, n = plainAck(b[used:], version) {
		used += n
		if it := o.ackedLocked(id, now); it != nil {
			it.reuse()
		}
	}
	return used, o.dueLocked(o.most / 2) // not one by one
}

// acked ends a packet at QoS 1. It reports whether more is to be sent now.
func (o *outbox) acked(id uint16, refused bool) (more bool) {
	o.mu.Lock()
	it := o.ackedLocked(id, o.now())
	more = o.dueLocked(o.most / 2)
	o.mu.Unlock()
	if it != nil && refused {
		it.drop(bridge.Refused)
	}
	return more
}

// ackedLocked ends a packet at QoS 1, and returns it; nil: there is none.
func (o *outbox) ackedLocked(id uint16, now time.Duration) *item {
	it := o.flying[id]
	if it == nil {
		return nil
	}
	delete(o.flying, id)
	o.moved, o.heard = now, true
	if id == o.timedID {
		o.timedID, o.near = 0, now-o.timedAt < nearFor
	}
	o.freeLocked(it)
	return it
}

// deafFor is how long the broker may acknowledge nothing of what it was sent.
const deafFor = 10 * time.Second

// deaf reports whether the broker acknowledges nothing any more.
func (o *outbox) deaf() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.up && len(o.flying) > 0 && o.now()-o.moved > deafFor
}

// answered reports whether the broker acknowledges what it is sent on this connection, as far as
// it was asked to.
func (o *outbox) answered() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.heard || o.head == len(o.waiting) && len(o.flying) == 0
}
