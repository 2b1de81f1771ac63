package udp_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"watchtower/bridge"
)

// BenchmarkFanOut measures one message to all members of a channel, as far as
// the system's sockets. An operation is one message. Nobody reads: the kernel
// drops what does not fit the receivers' buffers.
func BenchmarkFanOut(b *testing.B) {
	for _, members := range []int{1, 50, 500} {
		b.Run(fmt.Sprint(members), func(b *testing.B) {
			g := start(b, bridge.Options{}, nil)
			for range members {
				g.joined(b, 7)
			}
			hold := g.hub.RegisterWire(func() {})
			defer g.hub.Release(hold)
			require.NoError(b, g.hub.Attach(hold.Sender(), 7, &bridge.Attachment{Via: bridge.HTTP, Broadcasts: true}))
			data := make([]byte, 64)
			done := make(chan struct{}, 256)
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				if i >= 256 {
					<-done
				}
				_, err := g.hub.Publish(hold.Sender(), bridge.Publication{
					Channels: []bridge.Channel{7}, Content: bridge.Content{Data: data},
					Report: func(bridge.Report) { done <- struct{}{} },
				})
				if err != nil {
					b.Fatal(err)
				}
			}
			for range min(b.N, 256) {
				<-done
			}
			b.StopTimer()
			b.ReportMetric(float64(b.N*members)/b.Elapsed().Seconds(), "deliveries/s")
			require.Zero(b, g.dropped(bridge.Unsendable))
		})
	}
}
