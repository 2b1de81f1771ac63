package bridge_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
	"watchtower/internal/harness"
)

// A receiver that gets another identity again and again, as an IRC client that changes its nick, misses
// nothing that is published meanwhile, and gets nothing in two jobs.
func TestWhoTakesAnothersPlaceMissesNothing(t *testing.T) {
	h, _ := harness.Hub(t, viaTCP, bridge.Options{})
	link := h.AddLink(viaTCP, 100_000, time.Minute)
	ctx, cancel := context.WithCancel(t.Context())
	got := map[ulid.ULID]int{} // jobs
	var links sync.WaitGroup
	links.Go(func() {
		link.Run(ctx, func(jobs []bridge.Job) {
			for _, j := range jobs {
				wanted := 0
				for _, a := range j.To {
					if a.Wants(j.Message) {
						wanted = 1
					}
				}
				got[j.Message.ID] += wanted
				j.Done(h.Counters(), viaTCP, wanted, 0)
			}
		})
	})
	attach := func() *bridge.Attachment {
		a := &bridge.Attachment{Via: viaTCP, Broadcasts: true}
		require.NoError(t, h.Attach(h.Holds().New(func() {}).Sender(), 5, a))
		return a
	}
	now := attach()
	var speaking sync.WaitGroup
	const speakers, each = 4, 3000
	speaker := func() *bridge.Sender {
		s := h.Holds().New(func() {}).Sender()
		require.NoError(t, h.Attach(s, 5, &bridge.Attachment{Via: viaUDP, Broadcasts: true}))
		return s
	}
	for range speakers {
		from := speaker()
		speaking.Go(func() {
			for range each {
				_, err := h.Publish(from, bridge.Publication{Channels: []bridge.Channel{5}, Via: viaTCP, Wait: true})
				assert.NoError(t, err)
			}
		})
	}
	over := make(chan struct{})
	go func() { speaking.Wait(); close(over) }()
	changes := 0
	for going := true; going; changes++ {
		select {
		case <-over:
			going = false
		default:
		}
		was := now
		now = attach()
		h.Detach(was, now)
	}
	h.Detach(now)
	require.Eventually(t, link.Idle, harness.Patience, time.Millisecond)
	cancel()
	links.Wait()
	assert.Greater(t, changes, 10)
	assert.Len(t, got, speakers*each)
	for id, n := range got {
		require.Equal(t, 1, n, id)
	}
	_, err := h.Publish(speaker(), bridge.Publication{Channels: []bridge.Channel{5}, Via: viaTCP})
	require.NoError(t, err)
	assert.Len(t, got, speakers*each, "who has left gets nothing more")
}
