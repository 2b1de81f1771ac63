package mqtt

import (
	"time"

	"watchtower/bridge"
	"watchtower/bridge/outbound"
)

// SetPacketTimeout sets how long receiving a packet may take.
func (o *Options) SetPacketTimeout(d time.Duration) { o.packetTimeout = d }

// WithoutLoops has each connection read by a goroutine of its own, as on systems without event
// loops.
func (o *Options) WithoutLoops() { o.withoutLoops = true }

// Rounds returns how often changes were written to disk. One that was made before is on disk
// two rounds later.
func (b *Broker) Rounds() uint64 {
	b.keeper.changes.note() // else none comes if nothing changes
	return b.keeper.rounds.Load()
}

// RoutesCached returns the number of cached routes, and the bytes counted for them.
func (b *Broker) RoutesCached() (routes, bytes int) {
	b.router.routesMu.RLock()
	defer b.router.routesMu.RUnlock()
	return len(b.router.routes) + len(b.router.members), b.router.bytes
}

// Held returns how many deliveries a client has, queued or in flight, and their payloads'
// bytes.
func (b *Broker) Held(client string) (deliveries, bytes int) {
	b.sessions.mu.Lock()
	defer b.sessions.mu.Unlock()
	for k, s := range b.sessions.all {
		if k.client != client {
			continue
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, q := range []*outbound.Fifo[delivery]{&s.queue, &s.inflight} {
			for i := range q.Len() {
				deliveries++
				bytes += len(q.At(i).m.payload)
			}
		}
	}
	return deliveries, bytes
}

// HeldBytes returns the bytes counted for queues, subscriptions and retained messages.
func (b *Broker) HeldBytes() (queues, subscriptions, retained int) {
	b.retained.mu.RLock()
	defer b.retained.mu.RUnlock()
	return int(b.budget.used.Load()), b.router.size(), b.retained.size()
}

// HomeOf returns the slot of the other gateway that has a client's session; 0: none has.
func (b *Broker) HomeOf(sender bridge.SenderID, client string) bridge.Slot {
	return b.sessions.home(sessionKey{sender: sender, client: client})
}

// ClaimOf returns the key of the claim of a client's session.
func ClaimOf(sender bridge.SenderID, client string) bridge.ClaimKey {
	return sessionKey{sender: sender, client: client}.claim()
}
