package bridge_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
	"watchtower/config"
	"watchtower/internal/harness"
)

// While many senders are swept, a reader finds some of them gone and some not: the sweep
// lets others have the lock in between.
func TestTheSweepLetsOthersIn(t *testing.T) {
	var later atomic.Int64
	h, _ := harness.Hub(t, viaMQTT, bridge.Options{
		Tree: bridge.NewTree("w", "g"), Senders: config.Senders{ExpireAfter: time.Second, ExpireUnnamedAfter: time.Second},
		Now: func() time.Time { return time.Now().Add(time.Duration(later.Load())) },
	})
	const all = 10_000
	for i := range all {
		_, err := h.Register(bridge.Registration{Name: fmt.Sprint("n", i)})
		require.NoError(t, err)
	}
	later.Store(int64(time.Hour))
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan struct{})
	go func() { defer close(ran); h.Run(ctx) }()
	seen := map[int]struct{}{}
	for {
		_, n := h.Directory().Counts()
		if n == 0 {
			break
		}
		seen[n] = struct{}{}
	}
	cancel()
	<-ran
	assert.Greater(t, len(seen), 5)
}

// A session that waits for its client is not seen because the gateway stops.
func TestWhoIsAwayIsNotSeenAtTheEnd(t *testing.T) {
	var later atomic.Int64
	h, _ := harness.Hub(t, viaMQTT, bridge.Options{
		Tree: bridge.NewTree("w", "g"),
		Now:  func() time.Time { return time.Now().Add(time.Duration(later.Load())) },
	})
	away, err := h.Holds().Register(bridge.Naming{Name: "pump", Lasting: true, Via: viaMQTT}, func() {})
	require.NoError(t, err)
	here, err := h.Holds().Register(bridge.Naming{Name: "lamp", Lasting: true, Via: viaMQTT}, func() {})
	require.NoError(t, err)
	here.Present(viaMQTT)
	away.Away(viaMQTT)
	left := time.Now()
	later.Store(int64(time.Hour))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	h.Run(ctx) // it saves, at its end, when each was last seen
	pump, err := h.Registry().Sender(away.Sender().ID())
	require.NoError(t, err)
	assert.WithinDuration(t, left, pump.Seen, time.Minute)
	here.Away(viaMQTT)
	lamp, err := h.Registry().Sender(here.Sender().ID())
	require.NoError(t, err)
	assert.WithinDuration(t, left.Add(time.Hour), lamp.Seen, time.Minute)
}
