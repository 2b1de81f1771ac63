package udp_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"watchtower/bridge"
	"watchtower/udp"
	"watchtower/wire/frame"
)

// BenchmarkFanOut measures one message to all members of a channel, up to the system's
// sockets. An operation is one message. Nobody reads: the kernel drops what does not fit
// into the receivers' buffers.
func BenchmarkFanOut(b *testing.B) {
	fanOut(b, func(g *gateway, b *testing.B) { g.joined(b, 7) }, nil)
}

// BenchmarkFanOutFromAnywhere is the same for a gateway that listens on all its
// addresses, and answers from the one that was asked.
func BenchmarkFanOutFromAnywhere(b *testing.B) {
	fanOut(b, func(g *gateway, b *testing.B) { g.joined(b, 7) }, func(o *udp.Options) { o.Listen = "0.0.0.0:0" })
}

// BenchmarkSessionFanOut is the same for devices of session frames: each gets its own
// number and tag.
func BenchmarkSessionFanOut(b *testing.B) { fanOut(b, joinSession, nil) }

func fanOut(b *testing.B, join func(*gateway, *testing.B), change func(*udp.Options)) {
	for _, members := range []int{1, 50, 500} {
		b.Run(fmt.Sprint(members), func(b *testing.B) {
			g := start(b, bridge.Options{}, change)
			for range members {
				join(g, b)
			}
			hold := g.hub.Holds().New(func() {})
			defer g.hub.Holds().Release(hold)
			require.NoError(b, g.hub.Attach(hold.Sender(), 7, &bridge.Attachment{Via: viaHTTP, Broadcasts: true}))
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
			require.Zero(b, g.dropped(udp.Unsendable))
		})
	}
}

// joinSession registers a device of session frames, and joins channel 7.
func joinSession(g *gateway, b *testing.B) {
	c := g.dial(b)
	reg := frame.Registration{Version: 1, KeepAlive: 3600, MaxDatagram: 1200}
	binary.LittleEndian.PutUint64(reg.CNonce[:], rand.Uint64())
	ask := func(raw []byte) frame.Frame {
		c.Write(raw)
		f, err := frame.Parse(c.Read())
		require.NoError(b, err)
		return f
	}
	var err error
	_, reg.Cookie, err = frame.ParseCookie(ask(frame.AppendRegister(nil, reg, frame.Key{})).Body)
	require.NoError(b, err)
	id := ask(frame.AppendRegister(nil, reg, frame.Key{})).ID
	key := frame.Key{}.SessionKey(reg.Options, reg.CNonce, reg.Cookie, id)
	join := ask(frame.Append(nil, frame.Frame{Op: frame.Join, ID: id, Seq: 1, Body: []byte{7, 0, 0, 0}}, key))
	require.Equal(b, frame.Answer, join.Op)
}
