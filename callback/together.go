package callback

import (
	"context"
	"fmt"
	"hash/fnv"
	"time"

	"watchtower/bridge"
)

const (
	shards      = 64
	shareFor    = 2 * time.Second // how long a join waits for the space
	saveEvery   = time.Second     // between two notes of how far the callbacks of a shard are
	saveAgain   = 50 * time.Millisecond
	finishFor   = 3 * time.Second // for attempts in progress, when a lease is given back
	settleEvery = time.Second     // between two looks at documents of senders that are not known yet
	placeKept   = time.Minute     // how old a place may be of a callback that gets nothing
	failedShown = 20              // failed deliveries of a callback that other gateways show
)

// together are the callbacks as the space has them. Service.mu guards all of its maps.
type together struct {
	*Space
	service   *Service
	documents bridge.Documents
	ready     chan struct{}        // closed when all documents are known
	leases    [shards]bridge.Lease // those that are held
	docs      map[string]document
	changes   map[string]*change
	keys      map[string]endpointKey
	loose     map[string]struct{} // documents of senders that are not known yet, or of changes that were kept
	kept      []byte              // the changes on the disk; keepChanges' own
	life      context.Context     // of Serve
	read      [shards]struct {    // what other gateways left, as it was read last
		text []byte
		left map[string]progress
	}
}

func newTogether(c *Service, s *Space) *together {
	t := &together{
		Space: s, service: c, ready: make(chan struct{}), docs: map[string]document{}, changes: map[string]*change{},
		keys: map[string]endpointKey{}, loose: map[string]struct{}{},
	}
	t.documents = s.Documents(t)
	return t
}

func shardOf(key string) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(key)) // a hash takes everything
	return int(h.Sum32() % shards)
}

func leaseName(shard int) string { return fmt.Sprintf("cb.%d", shard) }

// changeLocked returns what is to be changed of a callback's document.
func (t *together) changeLocked(e endpointKey) *change {
	key := t.service.signer.keyOf(e)
	ch := t.changes[key]
	if ch == nil {
		ch = &change{sender: e.sender.ID(), url: e.url, on: map[bridge.Channel]*membership{}, left: map[bridge.Channel]int64{}}
		t.changes[key] = ch
	}
	t.documents.Touch(key)
	return ch
}

// leftLocked shares that a callback has left a channel.
func (t *together) leftLocked(e *endpoint, to *receiver) {
	ch := t.changeLocked(e.key)
	delete(ch.on, to.channel)
	ch.left[to.channel] = max(ch.left[to.channel], to.place.Joined)
}

// stateLocked shares an endpoint's state if it has changed.
func (t *together) stateLocked(e *endpoint) {
	if now := e.state.lasting(); now != e.shared && !e.key.reports {
		e.shared = now
		t.changeLocked(e.key).state = &now
	}
}

// leaseLocked returns the lease by which an endpoint is posted to; nil: it needs none.
func (c *Service) leaseLocked(e *endpoint) bridge.Lease {
	if c.together == nil || e.key.reports {
		return nil
	}
	return c.together.leases[e.shard]
}
