package bench

import "sync/atomic"

// ear checks the messages of one receiver. Its connection's goroutine owns it. Other
// goroutines read only its atomic fields.
type ear struct {
	run       uint32
	size      int
	plan      plan
	flights   []*flight // by publisher
	recording *atomic.Bool

	places []int32 // by channel: its place in the rows below, from 1; 0: not joined. nil: there is one channel
	width  int     // of a row
	heard  []track // a row for each publisher

	now   int64 // when the present batch was read, by clock
	count counts
	total atomic.Uint64 // unique messages up to the last batch
	times histogram
}

// counts are a receiver's counts of messages.
type counts struct {
	received   uint64 // without duplicates
	duplicates uint64
	reordered  uint64 // came after one that was sent later
	corrupt    uint64 // changed on the way
	foreign    uint64 // of another run, or of a channel that was not joined
	refused    uint64 // the server said that it did not take a message
}

func (c *counts) add(o counts) {
	c.received += o.received
	c.duplicates += o.duplicates
	c.reordered += o.reordered
	c.corrupt += o.corrupt
	c.foreign += o.foreign
	c.refused += o.refused
}

// track follows one publisher on one channel.
type track struct {
	next    uint32 // the number that is expected
	missing uint64 // a bit for each number before next that has not come; the lowest is the nearest
}

func newEar(run uint32, size int, p plan, joined []int, flights []*flight, recording *atomic.Bool) *ear {
	e := &ear{run: run, size: size, plan: p, flights: flights, recording: recording, width: len(joined)}
	if p.channels > 1 {
		e.places = make([]int32, p.channels)
		for i, c := range joined {
			e.places[c] = int32(i + 1)
		}
	}
	e.heard = make([]track, len(flights)*len(joined))
	for pub := range flights {
		for i, c := range joined {
			e.heard[pub*e.width+i].next = p.first(pub, c)
		}
	}
	return e
}

// begin is called when a batch was read, before its messages are checked.
func (e *ear) begin() { e.now = clock() }

// end is called when the whole batch is checked.
func (e *ear) end() { e.total.Store(e.count.received) }

// take checks one message.
func (e *ear) take(payload []byte) {
	s, ok := parsePayload(payload, e.size)
	if !ok {
		e.count.corrupt++
		return
	}
	t := e.track(s)
	if t == nil {
		e.count.foreign++
		return
	}
	if !e.inOrder(t, s.seq) {
		return
	}
	e.count.received++
	if e.recording.Load() {
		e.times.record(e.now - s.at)
	}
	e.flights[s.publisher].land(s.seq)
}

func (e *ear) track(s stamp) *track {
	if s.run != e.run || int(s.publisher) >= len(e.flights) || e.width == 0 {
		return nil
	}
	place := 0
	if e.places != nil {
		if place = int(e.places[e.plan.channel(s.publisher, s.seq)]) - 1; place < 0 {
			return nil
		}
	}
	return &e.heard[int(s.publisher)*e.width+place]
}

// inOrder reports whether a message is new. It counts duplicates and messages out of order:
// if later messages come before a missing one, that counts as reordered when it comes, and
// as lost when it never does.
func (e *ear) inOrder(t *track, seq uint32) bool {
	step := uint32(e.plan.channels)
	if seq == t.next {
		t.next += step
		t.missing <<= 1
		return true
	}
	if seq > t.next {
		skipped := (seq - t.next) / step
		t.missing = (t.missing<<skipped | (1<<skipped - 1)) << 1
		t.next = seq + step
		return true
	}
	bit := uint64(1) << ((t.next-seq)/step - 1) // 0 if it is too far back to tell
	if t.missing&bit == 0 {
		e.count.duplicates++
		return false
	}
	t.missing &^= bit
	e.count.reordered++
	return true
}
