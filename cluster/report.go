package cluster

import (
	"encoding/binary"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"

	"watchtower/bridge"
)

// A sender may want to know how a message went. Then its gateway waits for those that are there, and
// each tells how many it was offered to, by an entry of its own:
//
//	to u8 | id 16 | channel, receiver uvarint | protocol u8+, offered, dropped uvarint | …
type told struct {
	to     bridge.Slot
	of     copied
	counts []count
}

// copied is a message on one channel, for one receiver.
type copied struct {
	id       ulid.ULID
	channel  bridge.Channel
	receiver bridge.SenderID
}

type count struct {
	protocol         bridge.Protocol
	offered, dropped int
}

func (r told) bytes() int {
	n := 1 + len(r.of.id) + uvarintBytes(uint64(r.of.channel)) + uvarintBytes(uint64(r.of.receiver))
	for _, c := range r.counts {
		n += 1 + len(c.protocol.String()) + uvarintBytes(uint64(c.offered)) + uvarintBytes(uint64(c.dropped))
	}
	return n
}

func appendReport(b []byte, r told) []byte {
	b = append(b, byte(kindReport))
	b = binary.AppendUvarint(b, uint64(r.bytes()))
	b = append(append(b, byte(r.to)), r.of.id[:]...)
	b = binary.AppendUvarint(b, uint64(r.of.channel))
	b = binary.AppendUvarint(b, uint64(r.of.receiver))
	for _, c := range r.counts {
		b = appendText(b, c.protocol.String())
		b = binary.AppendUvarint(b, uint64(c.offered))
		b = binary.AppendUvarint(b, uint64(c.dropped))
	}
	return b
}

func readReport(body []byte) (r told, ok bool) {
	c := cursor{b: body}
	r.to = bridge.Slot(c.byte())
	copy(r.of.id[:], c.bytes(len(r.of.id)))
	r.of.channel, r.of.receiver = bridge.Channel(c.number()), bridge.SenderID(c.number())
	for len(c.b) > 0 {
		r.counts = append(r.counts, count{bridge.ProtocolNamed(c.text()), int(c.number()), int(c.number())})
	}
	return r, !c.bad
}

// tellReport has a message's gateway told how it goes here.
func (n *Node) tellReport(to bridge.Slot, m *bridge.Message) {
	r := told{to: to, of: copied{m.ID, m.Channel, m.Receiver}}
	m.WantReport(func(how bridge.Report) {
		for p, offered := range how.Offered {
			r.counts = append(r.counts, count{bridge.ProtocolNamed([]byte(p)), offered, how.Dropped[p]})
		}
		n.stream.report(r)
		n.transport.Wake(nil)
	})
}

// here lists the other gateways that are heard, by name.
func (n *Node) here() map[bridge.Slot]string {
	n.mu.Lock()
	defer n.mu.Unlock()
	all := map[bridge.Slot]string{}
	for slot, o := range n.origins {
		if o.synced.Load() && !o.silent() && !o.ended.Load() {
			all[slot] = *o.name.Load()
		}
	}
	return all
}

// reports are those of this gateway's messages that other gateways have not told of.
type reports struct {
	mu      sync.Mutex
	waiting map[copied]*waiting
}

type waiting struct {
	parts bridge.Parts
	on    map[bridge.Slot]string // who has not told, by name
	late  *time.Timer
}

// reportsMost bounds how many messages are waited for at a time. The reports of more miss what
// other gateways would tell.
const reportsMost = 10_000

// await keeps a message's report open until some gateways have told their part, or it is too late.
func (r *reports) await(m *bridge.Message, on map[bridge.Slot]string) {
	if len(on) == 0 {
		return
	}
	of, w := copied{m.ID, m.Channel, m.Receiver}, &waiting{parts: m.Parts(), on: on}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.waiting) >= reportsMost {
		w.miss()
		w.parts.Done() // the message has a reference of its own
		return
	}
	if r.waiting == nil {
		r.waiting = map[copied]*waiting{}
	}
	r.waiting[of] = w
	w.late = time.AfterFunc(w.parts.Within(), func() {
		r.change(func(_ copied, w *waiting) { w.miss() }, of)
	})
}

// miss notes that who has not told is missing.
func (w *waiting) miss() {
	for at, name := range w.on {
		w.parts.Miss(name)
		delete(w.on, at)
	}
}

// change changes what is waited for of some messages. Reports that are complete then are given
// without the lock.
func (r *reports) change(do func(copied, *waiting), some ...copied) {
	r.mu.Lock()
	var complete []bridge.Parts
	for _, of := range some {
		w := r.waiting[of]
		if w == nil {
			continue // it comes too late, or again
		}
		if do(of, w); len(w.on) == 0 {
			w.late.Stop()
			delete(r.waiting, of)
			complete = append(complete, w.parts)
		}
	}
	r.mu.Unlock()
	for _, p := range complete {
		p.Done()
	}
}

func (r *reports) all() []copied {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Collect(maps.Keys(r.waiting))
}

// told adds what a gateway tells.
func (r *reports) told(by bridge.Slot, t told) {
	r.change(func(_ copied, w *waiting) {
		if w.on[by] == "" {
			return
		}
		for _, c := range t.counts {
			w.parts.Add(c.protocol, c.offered, c.dropped)
		}
		delete(w.on, by)
	}, t.of)
}

// gone gives up on a gateway that is gone.
func (r *reports) gone(at bridge.Slot) {
	r.change(func(_ copied, w *waiting) {
		if name := w.on[at]; name != "" {
			w.parts.Miss(name)
			delete(w.on, at)
		}
	}, r.all()...)
}

// end completes all.
func (r *reports) end() { r.change(func(_ copied, w *waiting) { w.miss() }, r.all()...) }
