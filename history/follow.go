package history

import (
	"context"
	"time"

	"watchtower/bridge"
)

// Follower gets what is said, for the members of one protocol. The history's goroutine
// calls it, and it never waits for a member.
type Follower interface {
	// Give gives a message to those of the members that want it. It returns how many
	// those are, and how many of them lost it.
	Give(m *bridge.Message, members []*bridge.Attachment) (offered, dropped int)
	// Flush ends a batch of messages.
	Flush()
}

// following is a follower, and how it went with the message at hand.
type following struct {
	Follower
	protocol         bridge.Protocol
	offered, dropped int
}

// Follow makes the members of a protocol reachable by the history's link. It is called
// once for a protocol, before its first member.
func (h *History) Follow(p bridge.Protocol, f Follower) {
	if h.link == nil {
		h.link = h.hub.AddLink(p, bridge.LinkQueue, bridge.LinkPatience)
		if h.opts.Messages > 0 {
			h.link.TakeEverything()
		}
	} else {
		h.hub.Share(h.link, p)
	}
	h.followers = append(h.followers, following{Follower: f, protocol: p})
}

// Serve hands out what is said until ctx ends, and what waits then.
func (h *History) Serve(ctx context.Context) error {
	h.link.Run(ctx, h.fanOut)
	return nil
}

// Quiesce does nothing: there are no requests.
func (h *History) Quiesce(context.Context) {}

// Drain waits until all that was said is handed out, or ctx ends.
func (h *History) Drain(ctx context.Context) {
	t := time.NewTicker(time.Millisecond)
	defer t.Stop()
	for !h.link.Idle() {
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
	}
}

func (h *History) fanOut(batch []bridge.Job) {
	for _, job := range batch {
		h.hand(job)
	}
	for _, f := range h.followers {
		f.Flush()
	}
}

// hand gives one message to the history and to those who are members now: not when it
// was published, because somebody may have joined in between and been given the history
// without it.
func (h *History) hand(job bridge.Job) {
	m := job.Message
	h.mu.Lock()
	h.addLocked(m)
	for i := range h.followers {
		f := &h.followers[i]
		f.offered, f.dropped = f.Give(m, h.hub.Receivers(m, f.protocol))
	}
	h.mu.Unlock()
	for _, f := range h.followers {
		job.Count(h.hub.Counters(), f.protocol, f.offered, f.dropped)
	}
	job.Release()
}

// Join calls join while nothing is handed out. Who becomes a member in it gets what was
// said before from the moment, and all that comes later live.
func (h *History) Join(join func(Moment) error) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return join(Moment{h})
}

// Moment is the history while it stands still.
type Moment struct{ h *History }

// Here is the place behind all that was said.
func (m Moment) Here() Position { return m.h.hereLocked() }
