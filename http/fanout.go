package http

import (
	"watchtower/bridge"
	"watchtower/bridge/outbound"
)

// fanOut gives messages to streams and mailboxes. It follows the history, and never waits
// for a member.
type fanOut struct {
	encoded [numKinds][]byte // the current message, by kind; nil: not encoded yet
	round   outbound.Round   // streams with new lines in their queues
}

// Give gives one message to the members that want it.
func (f *fanOut) Give(m *bridge.Message, members []*bridge.Attachment) (offered, dropped int) {
	clear(f.encoded[:])
	for _, a := range members {
		if !a.Wants(m) {
			continue
		}
		offered++
		if !a.Member.(member).accept(f, m) {
			dropped++
		}
	}
	return offered, dropped
}

// Flush has each stream written to once after a batch.
func (f *fanOut) Flush() { f.round.Share(outbound.Few) }

// as returns the current message in one kind's encoding.
func (f *fanOut) as(k kind, m *bridge.Message) []byte {
	if f.encoded[k] == nil {
		f.encoded[k] = k.encode(m)
	}
	return f.encoded[k]
}

// member is a stream or a mailbox. accept queues a message for it, and reports false if
// there is no room.
type member interface {
	accept(f *fanOut, m *bridge.Message) bool
	openedBy(p *pass) bool
}

func (st *stream) accept(f *fanOut, m *bridge.Message) bool {
	if !st.enqueue(f.as(st.kind, m)) {
		return false
	}
	f.round.Note(st.writer)
	return true
}

func (st *stream) openedBy(p *pass) bool { return st.pass != nil && st.pass.text == p.text }

func (b *mailbox) accept(_ *fanOut, m *bridge.Message) bool { return b.add(m) }
func (b *mailbox) openedBy(*pass) bool                      { return false }
