package http

import "watchtower/bridge"

// fanOut hands the link's messages to streams and callbacks. It belongs to the
// link's goroutine, and never waits for a member.
type fanOut struct {
	s       *Server
	encoded [numKinds][]byte // the message at hand, as far as somebody wanted it
	touched []*stream        // with something new in the queue
}

// run hands out a batch, and wakes each stream once for all of it.
func (f *fanOut) run(batch []bridge.Job) {
	for _, job := range batch {
		f.hand(job)
	}
	for i, st := range f.touched {
		st.touched = false
		st.writer.Wake()
		f.touched[i] = nil
	}
	f.touched = f.touched[:0]
}

// hand gives one message to the history and to those who are members now: not
// when it was published, because somebody may have joined in between and been
// given the history without it.
func (f *fanOut) hand(job bridge.Job) {
	m, h := job.Message, f.s.history
	clear(f.encoded[:])
	offered, dropped := 0, 0
	h.mu.Lock()
	h.addLocked(m)
	for _, a := range f.s.hub.Receivers(m, bridge.HTTP) {
		if !a.Wants(m) {
			continue
		}
		offered++
		if !f.give(a, m) {
			dropped++
		}
	}
	h.mu.Unlock()
	job.Done(f.s.hub.Counters(), bridge.HTTP, offered, dropped)
}

// as returns the message at hand as one kind of member gets it.
func (f *fanOut) as(k kind, m *bridge.Message) []byte {
	if f.encoded[k] == nil {
		f.encoded[k] = k.encode(m)
	}
	return f.encoded[k]
}

func (f *fanOut) give(a *bridge.Attachment, m *bridge.Message) bool {
	switch member := a.Member.(type) {
	case *stream:
		if !member.put(f.as(member.kind, m)) {
			return false
		}
		if !member.touched {
			member.touched = true
			f.touched = append(f.touched, member)
		}
		return true
	case *mailbox:
		return member.put(m)
	case *callback:
		return f.s.callbacks.put(member, deliveryOf(m, f.as(plainLines, m)))
	}
	return false // no other member is attached here
}
