package tcp_test

import (
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"watchtower/bridge"
	"watchtower/tcp"
	"watchtower/wire"
)

// BenchmarkFanOut measures one message of 64 bytes to all members of a channel, who read
// it. An operation is one message. The share delivered shows what queues did not take.
func BenchmarkFanOut(b *testing.B) {
	const size = wire.DeliveryHeader + 64
	for _, members := range []int{1, 50, 500} {
		b.Run(fmt.Sprint(members), func(b *testing.B) {
			g := start(b, bridge.Options{}, func(o *tcp.Options) { o.Queue = 2048 })
			var read atomic.Int64
			for range members {
				c := g.joined(b, 7)
				go func(conn net.Conn) { // ends with the gateway
					buf := make([]byte, 64<<10)
					for {
						n, err := conn.Read(buf)
						read.Add(int64(n))
						if err != nil {
							return
						}
					}
				}(c.conn)
			}
			hold := g.hub.Holds().New(func() {})
			defer g.hub.Holds().Release(hold)
			require.NoError(b, g.hub.Attach(hold.Sender(), 7, &bridge.Attachment{Via: viaHTTP, Broadcasts: true}))
			data := make([]byte, 64)
			done := make(chan struct{}, 1024)
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				if i >= 1024 {
					<-done
				}
				_, err := g.hub.Publish(hold.Sender(), bridge.Publication{
					Channels: []bridge.Channel{7}, Content: bridge.Content{Data: data}, Wait: true,
					Report: func(bridge.Report) { done <- struct{}{} },
				})
				if err != nil {
					b.Fatal(err)
				}
			}
			for range min(b.N, 1024) {
				<-done
			}
			g.stop() // returns when everything is written
			b.StopTimer()
			delivered := int64(b.N*members) - int64(g.dropped(bridge.QueueFull))
			b.ReportMetric(float64(delivered)/b.Elapsed().Seconds(), "deliveries/s")
			b.ReportMetric(100*float64(delivered)/float64(b.N*members), "%delivered")
			require.LessOrEqual(b, read.Load(), delivered*size)
		})
	}
}

// BenchmarkBareFanOut is what BenchmarkFanOut is compared with: one write for each
// message and connection, and nothing else.
func BenchmarkBareFanOut(b *testing.B) {
	for _, members := range []int{1, 50, 500} {
		b.Run(fmt.Sprint(members), func(b *testing.B) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(b, err)
			defer l.Close()
			conns := make([]net.Conn, members)
			for i := range conns {
				c, err := net.Dial("tcp", l.Addr().String())
				require.NoError(b, err)
				conns[i], err = l.Accept()
				require.NoError(b, err)
				defer conns[i].Close()
				go func() { _, _ = io.Copy(io.Discard, c); c.Close() }()
			}
			frame := make([]byte, wire.DeliveryHeader+64)
			for b.Loop() {
				for _, c := range conns {
					_, _ = c.Write(frame)
				}
			}
			b.ReportMetric(float64(b.N*members)/b.Elapsed().Seconds(), "deliveries/s")
		})
	}
}
