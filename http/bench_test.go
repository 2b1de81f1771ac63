package http_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"watchtower/bridge"
	"watchtower/http"
)

// reading opens streams of channel 7, and reads them until the gateway ends.
func (g *gateway) reading(t testing.TB, streams int) {
	id, _ := g.register()
	for range streams {
		conn, err := net.Dial("tcp", strings.TrimPrefix(g.url, "http://"))
		require.NoError(t, err)
		t.Cleanup(func() { conn.Close() })
		_, err = fmt.Fprintf(conn, "GET /channels/join?channels=7&sender=%d HTTP/1.1\r\nHost: x\r\n\r\n", id)
		require.NoError(t, err)
		in := bufio.NewReader(conn)
		for line := ""; line != "\r\n"; { // the end of the head: it has joined
			line, err = in.ReadString('\n')
			require.NoError(t, err)
		}
		go func() { _, _ = io.Copy(io.Discard, conn) }()
	}
}

// BenchmarkFanOut sends one message of 64 bytes to all streams of a channel, which are read.
// An operation is one message. The share delivered shows drops.
func BenchmarkFanOut(b *testing.B) {
	for _, streams := range []int{1, 50, 500} {
		b.Run(fmt.Sprint(streams), func(b *testing.B) {
			g := start(b)
			g.reading(b, streams)
			hold := g.hub.Holds().New(func() {})
			defer g.hub.Holds().Release(hold)
			require.NoError(b, g.hub.Attach(hold.Sender(), 7, &bridge.Attachment{Via: viaUDP, Broadcasts: true}))
			data, done := make([]byte, 64), make(chan struct{}, 256)
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				if i >= cap(done) {
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
			for range min(b.N, cap(done)) {
				<-done
			}
			b.StopTimer()
			delivered := b.N*streams - int(g.hub.Counters().Dropped(http.Protocol, bridge.QueueFull))
			b.ReportMetric(float64(delivered)/b.Elapsed().Seconds(), "deliveries/s")
			b.ReportMetric(100*float64(delivered)/float64(b.N*streams), "%delivered")
		})
	}
}
