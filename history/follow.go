package history

import (
	"context"
	"time"

	"watchtower/bridge"
	"watchtower/bridge/outbound"
)

// Follower gets messages for the members of one protocol. The history's goroutine calls
// it, and it never waits for a member.
type Follower interface {
	// Give gives a message to those members that want it. It returns how many want it,
	// and how many of them lost it.
	Give(m *bridge.Message, members []*bridge.Attachment) (offered, dropped int)
	// Flush ends a batch of messages.
	Flush()
}

// following is a follower, with its counts for the present message.
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
			h.link.TakeEverything(h.keepAtOnce)
		}
	} else {
		h.hub.Share(h.link, p)
	}
	h.followers = append(h.followers, following{Follower: f, protocol: p})
}

// Serve hands out messages until ctx ends, and then those that still wait.
func (h *History) Serve(ctx context.Context) error {
	h.link.Run(ctx, h.fanOut)
	return nil
}

// Quiesce does nothing: there are no requests.
func (h *History) Quiesce(context.Context) {}

// Drain waits until all messages are handed out, or ctx ends.
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

// hand gives one message to the history and to the present members. The members of the
// time when it was published would be wrong: somebody may have joined since, and got the
// history without it.
func (h *History) hand(job bridge.Job) {
	m := job.Message
	h.mu.Lock()
	if m.Type != bridge.Notice {
		h.addLocked(m)
	}
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

// keepAtOnce keeps a message that has no members, in its publisher's goroutine. It returns
// false if there are members by now.
func (h *History) keepAtOnce(m *bridge.Message, _ *outbound.Round) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.link.HasMembers(m) {
		return false
	}
	h.addLocked(m)
	return true
}

// Join calls join while no message is handed out. A member that it adds gets earlier
// messages from the Moment, and all later ones live.
func (h *History) Join(join func(Moment) error) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return join(Moment{h})
}

// Moment is the history while it stands still.
type Moment struct{ h *History }

// Here is the position after the newest message.
func (m Moment) Here() Position { return m.h.hereLocked() }
