package http

import "watchtower/bridge"

// fanOut hands the link's messages to streams and callbacks. It belongs to the
// link's goroutine, and never waits for a member.
type fanOut struct {
	s       *Server
	touched []*stream // with something new in the queue
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

// hand gives one message to the members it is for. They share one encoding.
func (f *fanOut) hand(job bridge.Job) {
	var encoded []byte
	offered, dropped := 0, 0
	for _, a := range job.To {
		if !a.Wants(job.Message) {
			continue
		}
		if encoded == nil {
			encoded = line(job.Message)
		}
		offered++
		if !f.give(a, job.Message, encoded) {
			dropped++
		}
	}
	job.Done(f.s.hub.Counters(), bridge.HTTP, offered, dropped)
}

func (f *fanOut) give(a *bridge.Attachment, m *bridge.Message, encoded []byte) bool {
	switch member := a.Member.(type) {
	case *stream:
		if !member.put(encoded) {
			return false
		}
		if !member.touched {
			member.touched = true
			f.touched = append(f.touched, member)
		}
		return true
	case *callback:
		return f.s.callbacks.put(delivery{to: member, body: encoded[:len(encoded)-1], hops: m.Hops})
	}
	return false // no other member is attached here
}
