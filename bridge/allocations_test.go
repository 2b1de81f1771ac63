//go:build !race

package bridge_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
)

// heard is a hub with members on channel 5 over UDP, and a message for them.
func heard(t testing.TB, members int) (h *bridge.Hub, m *bridge.Message) {
	h = newHub(t, nil)
	link := h.AddLink(viaUDP, 1024, time.Second)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		link.Run(ctx, func(jobs []bridge.Job) {
			for _, j := range jobs {
				j.Done(h.Counters(), viaUDP, len(j.To), 0)
			}
		})
	})
	t.Cleanup(func() { cancel(); running.Wait() })
	for range members {
		hold := h.Holds().New(func() {})
		t.Cleanup(func() { h.Holds().Release(hold) })
		require.NoError(t, h.Attach(hold.Sender(), 5, &bridge.Attachment{Via: viaUDP, Broadcasts: true}))
	}
	return h, &bridge.Message{Type: bridge.Broadcast, Channel: 5, Sender: 1, Time: time.Now(), Data: make([]byte, 64)}
}

func TestDeliverAllocations(t *testing.T) {
	h, m := heard(t, 100)
	assert.Zero(t, testing.AllocsPerRun(1000, func() {
		if err := h.Deliver(m, nil); err != nil {
			t.Error(err)
		}
	}))
}

func BenchmarkDeliver(b *testing.B) {
	h, m := heard(b, 100)
	b.ReportAllocs()
	for b.Loop() {
		if err := h.Deliver(m, nil); err != nil {
			b.Fatal(err)
		}
	}
}
