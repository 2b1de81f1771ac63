package bench

import "sync/atomic"

// maxWindow is the most messages of a publisher that can be out: half of the slots, so that
// a lost message does not block others until its timeout.
const (
	slots     = 1 << 13
	maxWindow = slots / 2
)

// flight knows which messages of one publisher are out: sent, but not yet received by all
// their receivers. The publisher takes a token for each message. The last receiver of the
// message gives it back.
type flight struct {
	out    [slots]atomic.Uint64 // by number: the number above, how many are to get it below
	sentAt [slots]int64         // the publisher's
	tokens chan struct{}

	published atomic.Uint64
	lost      atomic.Uint64 // messages that were given up
}

func newFlight(window int) *flight {
	f := &flight{tokens: make(chan struct{}, window)}
	for range window {
		f.tokens <- struct{}{}
	}
	return f
}

// depart notes that a message is on its way to so many receivers. It reports false if an
// earlier message still has the slot.
func (f *flight) depart(seq uint32, receivers int, at int64) bool {
	s := &f.out[seq%slots]
	if uint32(s.Load()) != 0 {
		return false
	}
	f.sentAt[seq%slots] = at
	s.Store(uint64(seq)<<32 | uint64(receivers))
	f.published.Add(1)
	return true
}

// land notes that one receiver got a message.
func (f *flight) land(seq uint32) {
	s := &f.out[seq%slots]
	for {
		v := s.Load()
		if uint32(v>>32) != seq || uint32(v) == 0 {
			return // it was given up
		}
		if s.CompareAndSwap(v, v-1) {
			if uint32(v) == 1 {
				f.tokens <- struct{}{} // there is room: it was taken from there
			}
			return
		}
	}
}

// giveUp forgets messages that were sent before a time. Only the publisher's goroutine may
// call it, or another one after that has ended.
func (f *flight) giveUp(before int64) {
	for i := range f.out {
		s := &f.out[i]
		v := s.Load()
		for uint32(v) != 0 && f.sentAt[i] < before {
			if s.CompareAndSwap(v, v&^(1<<32-1)) {
				f.lost.Add(1)
				f.tokens <- struct{}{}
				break
			}
			v = s.Load()
		}
	}
}

// idle reports whether nothing is out.
func (f *flight) idle() bool { return len(f.tokens) == cap(f.tokens) }
