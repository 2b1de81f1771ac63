package session

import (
	"slices"
	"time"
)

// outbox holds the deliveries to one device: first the outstanding ones (sent and not
// acknowledged), then those that were not sent yet.
type outbox struct {
	entries []entry // in the order of their messages
	flying  int     // how many of them are outstanding
	last    uint32  // the ordinal of the newest message
	seq     uint32  // the number of the newest delivery
	gap     uint32  // the newest that was given up after it was sent: the device may wait for it; 0: none
	pings   []ping  // in the order of their arrival
}

// entry is one delivery.
type entry struct {
	frame   []byte // shared with other receivers
	expires int64  // when it expires; 0: never
	ordinal uint32
	seq     uint32 // 0: not sent yet
	sends   int
	due     int64 // when it is sent again
	counted bool  // if it is cut short, that was counted
	first   bool  // when it was last sent, none before it was outstanding, and the device was told
	had     bool  // the device has it, and may wait with it for an earlier one
}

// ping is a p that is answered after the deliveries that came before it.
type ping struct{ seq, after uint32 }

// empty reports whether nothing waits and nothing is outstanding.
func (b *outbox) empty() bool { return len(b.entries) == 0 }

// had is how many deliveries are kept although the device has them.
func (b *outbox) had() (n int) {
	for i := range b.entries[:b.flying] {
		if b.entries[i].had {
			n++
		}
	}
	return n
}

// outstanding is how many deliveries were sent and not acknowledged.
func (b *outbox) outstanding() int { return b.flying - b.had() }

// waiting is how many deliveries were not sent yet.
func (b *outbox) waiting() int { return len(b.entries) - b.flying }

// push adds a delivery. It reports whether the oldest waiting one was dropped to make
// room.
func (b *outbox) push(frame []byte, expires int64, room int) (dropped bool) {
	if len(b.entries) >= room {
		i := min(b.flying, len(b.entries)-1)
		b.giveUp(i)
		dropped = true
	}
	b.last++
	b.entries = append(b.entries, entry{frame: frame, expires: expires, ordinal: b.last})
	return dropped
}

// dropExpired takes out the deliveries that have waited too long.
func (b *outbox) dropExpired(now int64) (n int) {
	for i := 0; i < len(b.entries); i++ {
		if e := b.entries[i]; e.expires != 0 && now >= e.expires && !e.had {
			b.giveUp(i)
			i--
			n++
		}
	}
	if n > 0 {
		b.settle(now)
	}
	return n
}

// settle is called when outstanding deliveries were given up. A device that waits with later ones
// learns it from the last of these, which is sent again with the flag that none is before it.
func (b *outbox) settle(now int64) {
	for i := 0; i+1 < b.flying; i++ {
		if b.entries[i].had && b.entries[i+1].had {
			b.remove(i)
			i--
		}
	}
	if b.flying > 0 && b.entries[0].had {
		b.sayFirst(now)
	}
}

// sayFirst has the first delivery, which the device has, sent again with the flag that none is
// before it.
func (b *outbox) sayFirst(now int64) {
	e := &b.entries[0]
	e.had, e.sends, e.expires, e.due = false, 0, 0, now
}

// giveUp takes out a delivery that the device has not acknowledged.
func (b *outbox) giveUp(i int) {
	if i < b.flying {
		b.gap = max(b.gap, b.entries[i].seq)
	}
	b.remove(i)
}

// next numbers the first delivery that was not sent yet, and makes it outstanding.
func (b *outbox) next() *entry {
	e := &b.entries[b.flying]
	b.flying++
	b.seq++
	e.seq = b.seq
	return e
}

// remove takes out a delivery, and frees its memory at once.
func (b *outbox) remove(i int) {
	if i < b.flying {
		b.flying--
	}
	b.entries = slices.Delete(b.entries, i, i+1)
	if len(b.entries) == 0 {
		b.entries = nil
	}
}

// acknowledged takes out the outstanding delivery with a number. It reports false if there is none.
// Keep says that the device waits with it while an earlier one is missing: then the last one of
// those that follow each other is kept, for settle. If the earlier one was given up meanwhile, it is
// sent again.
func (b *outbox) acknowledged(seq uint32, keep bool, now int64) bool {
	i := slices.IndexFunc(b.entries[:b.flying], func(e entry) bool { return e.seq == seq && !e.had })
	switch {
	case i < 0:
		return false
	case i > 0 && keep:
		b.entries[i].had = true
		if i+1 < b.flying && b.entries[i+1].had {
			b.remove(i)
		} else if b.entries[i-1].had {
			b.remove(i - 1)
		}
		return true
	case keep && seq > b.gap && b.gap != 0:
		if !b.entries[i].first {
			b.sayFirst(now)
			return true
		}
		b.gap = 0
	}
	b.remove(i)
	for b.flying > 0 && b.entries[0].had {
		b.remove(0)
	}
	return true
}

// retryAll makes every outstanding delivery due now, as if it had never been sent.
func (b *outbox) retryAll(now int64) {
	for i := range b.entries[:b.flying] {
		if !b.entries[i].had {
			b.entries[i].sends, b.entries[i].due = 0, now
		}
	}
}

// answerable takes out the oldest p, if each delivery before it was acknowledged, given
// up, or sent at least twice.
func (b *outbox) answerable() (seq uint32, ok bool) {
	if len(b.pings) == 0 {
		return 0, false
	}
	p := b.pings[0]
	for _, e := range b.entries {
		if int32(e.ordinal-p.after) > 0 {
			break
		}
		if e.sends < 2 && !e.had {
			return 0, false
		}
	}
	b.pings = slices.Delete(b.pings, 0, 1)
	if len(b.pings) == 0 {
		b.pings = nil
	}
	return p.seq, true
}

// retryAfter is the time in milliseconds from the n-th sending of a delivery to the next:
// 1, 2, 4, 8, 8, … gaps.
func retryAfter(gap time.Duration, n int) int64 {
	return max(1, gap.Milliseconds()) << min(n-1, retryDoublings)
}
