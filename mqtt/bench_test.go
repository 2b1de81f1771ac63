package mqtt_test

import (
	"fmt"
	"io"
	"log/slog"
	"sync"
	"testing"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/mochi-mqtt/server/v2/packets"
	"github.com/stretchr/testify/require"
)

// bareMochi is mochi's own server with its defaults, to be measured against.
func bareMochi(b *testing.B) *house {
	s := mochi.New(&mochi.Options{Logger: slog.New(slog.DiscardHandler)})
	require.NoError(b, s.AddHook(new(allow), nil))
	l := listeners.NewTCP(listeners.Config{ID: "t", Address: "127.0.0.1:0"})
	require.NoError(b, s.AddListener(l))
	require.NoError(b, s.Serve())
	b.Cleanup(func() { s.Close() })
	return &house{t: b, addr: l.Address()}
}

// allow lets everybody do everything.
type allow struct{ mochi.HookBase }

func (*allow) ID() string                                               { return "allow" }
func (*allow) Provides(b byte) bool                                     { return b == mochi.OnConnectAuthenticate || b == mochi.OnACLCheck }
func (*allow) OnConnectAuthenticate(*mochi.Client, packets.Packet) bool { return true }
func (*allow) OnACLCheck(*mochi.Client, string, bool) bool              { return true }

// BenchmarkFanOut has one publisher and many subscribers, through sockets. An
// operation is one message delivered to all. Compare ours with mochi in one run.
func BenchmarkFanOut(b *testing.B) {
	for _, broker := range []string{"ours", "mochi"} {
		for _, qos := range []byte{0, 1} {
			for _, n := range []int{50, 500} {
				b.Run(fmt.Sprintf("%s/qos%d/%d", broker, qos, n), func(b *testing.B) {
					h := bareHouse(b, broker)
					fanOut(b, h, qos, n)
				})
			}
		}
	}
}

func bareHouse(b *testing.B, broker string) *house {
	if broker == "mochi" {
		return bareMochi(b)
	}
	return build(b, nil)
}

// ahead is how many messages the publisher is ahead of the slowest subscriber.
const ahead = 128

func fanOut(b *testing.B, h *house, qos byte, n int) {
	var readers sync.WaitGroup
	room := make([]chan struct{}, n)
	for i := range n {
		c := h.join(connect{id: fmt.Sprint("sub", i)})
		c.subscribe(qos, "bench/#")
		room[i] = make(chan struct{}, ahead)
		readers.Go(func() { read(b, c, qos, b.N, room[i]) })
	}
	pub := h.join(connect{id: "pub"})
	go func() { _, _ = io.Copy(io.Discard, pub.r) }()
	message := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: qos}, TopicName: "bench/x", Payload: make([]byte, 64)}
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		for i := range room {
			room[i] <- struct{}{}
		}
		if qos > 0 {
			message.PacketID = pub.lastID%60000 + 1
			pub.lastID = message.PacketID
		}
		pub.send(message)
	}
	readers.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N*n)/b.Elapsed().Seconds(), "deliveries/s")
}

// read takes n deliveries, and acknowledges them.
func read(b *testing.B, c *client, qos byte, n int, room <-chan struct{}) {
	head := 2 + 2 + len("bench/x") + 64
	if qos > 0 {
		head += 2
	}
	buf := make([]byte, head)
	for range n {
		if _, err := io.ReadFull(c.r, buf); err != nil {
			b.Error(err)
			return
		}
		if qos > 0 {
			at := 2 + 2 + len("bench/x")
			if _, err := c.nc.Write([]byte{0x40, 2, buf[at], buf[at+1]}); err != nil {
				b.Error(err)
				return
			}
		}
		<-room
	}
}
