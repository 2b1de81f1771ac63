package session

import "math/bits"

// wheel knows when each session is due, in milliseconds. It is a ring of lists, one for
// each of the next milliseconds. A session that is due later is filed near the end of the
// ring, and filed again when its turn comes. So a session costs no timer and no garbage,
// and a deadline may become later without being filed again.
type wheel struct {
	slots [wheelSize]*Session
	full  [wheelSize / 64]uint64 // a bit for each slot that is not empty
	done  int64                  // everything up to here was taken
	count int
}

const (
	wheelSize = 1 << 14 // 16 s
	never     = int64(1) << 62
	// coarse is the step to which deadlines beyond the ring are rounded: a hundred
	// thousand of them wake nobody more than four times a second.
	coarse = 1 << 8
)

// filed is a session's place in the wheel. at is 0 if it has none.
type filed struct {
	at         int64
	prev, next *Session
}

// file makes sure that a session is looked at when it is due, or earlier. It
// returns when that will be.
func (w *wheel) file(s *Session, due, now int64) int64 {
	if w.count == 0 {
		w.done = max(w.done, now-1)
	}
	at := max(due, w.done+1)
	if at-w.done >= wheelSize {
		at = (w.done + wheelSize - 1) &^ (coarse - 1)
	}
	if s.filed.at != 0 {
		if s.filed.at <= at {
			return s.filed.at
		}
		w.remove(s)
	}
	slot := at % wheelSize
	s.filed = filed{at: at, next: w.slots[slot]}
	if s.filed.next != nil {
		s.filed.next.filed.prev = s
	}
	w.slots[slot] = s
	w.full[slot/64] |= 1 << (slot % 64)
	w.count++
	return at
}

// remove takes a session out of the wheel.
func (w *wheel) remove(s *Session) {
	if s.filed.at == 0 {
		return
	}
	slot := s.filed.at % wheelSize
	if s.filed.next != nil {
		s.filed.next.filed.prev = s.filed.prev
	}
	if s.filed.prev != nil {
		s.filed.prev.filed.next = s.filed.next
	} else {
		w.slots[slot] = s.filed.next
	}
	if w.slots[slot] == nil {
		w.full[slot/64] &^= 1 << (slot % 64)
	}
	s.filed = filed{}
	w.count--
}

// take takes out a session that is due, or returns nil.
func (w *wheel) take(now int64) *Session {
	at := w.next()
	if at > now {
		w.done = max(w.done, now)
		return nil
	}
	w.done = at - 1 // this slot may have more
	s := w.slots[at%wheelSize]
	w.remove(s)
	return s
}

// next is the first time at which a session is filed.
func (w *wheel) next() int64 {
	begin := (w.done + 1) % wheelSize
	for i := range int64(len(w.full) + 1) {
		word := (begin/64 + i) % int64(len(w.full))
		b := w.full[word]
		if i == 0 {
			b &= ^uint64(0) << (begin % 64)
		}
		if i == int64(len(w.full)) {
			b &= 1<<(begin%64) - 1
		}
		if b == 0 {
			continue
		}
		slot := word*64 + int64(bits.TrailingZeros64(b))
		return w.done + 1 + (slot-begin+wheelSize)%wheelSize
	}
	return never
}
