package http

import "watchtower/bridge"

// fanOut hands messages to streams and mailboxes. It follows the history,
// and never waits for a member.
type fanOut struct {
	encoded [numKinds][]byte // the message at hand, as far as somebody wanted it
	touched []*stream        // with something new in the queue
}

// Give hands one message to those of the members that want it.
func (f *fanOut) Give(m *bridge.Message, members []*bridge.Attachment) (offered, dropped int) {
	clear(f.encoded[:])
	for _, a := range members {
		if !a.Wants(m) {
			continue
		}
		offered++
		if !f.give(a, m) {
			dropped++
		}
	}
	return offered, dropped
}

// Flush wakes each stream once for all of a batch.
func (f *fanOut) Flush() {
	for i, st := range f.touched {
		st.touched = false
		st.writer.Wake()
		f.touched[i] = nil
	}
	f.touched = f.touched[:0]
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
		if !member.enqueue(f.as(member.kind, m)) {
			return false
		}
		if !member.touched {
			member.touched = true
			f.touched = append(f.touched, member)
		}
		return true
	case *mailbox:
		return member.add(m)
	}
	return false // no other member is attached here
}
