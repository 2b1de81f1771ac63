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

	"watchtower/config"
	"watchtower/mqtt"
)

// bareMochi is mochi's own server with its defaults, for comparison.
func bareMochi(b *testing.B) *house {
	s := mochi.New(&mochi.Options{Logger: slog.New(slog.DiscardHandler)})
	require.NoError(b, s.AddHook(new(allow), nil))
	l := listeners.NewTCP(listeners.Config{ID: "t", Address: "127.0.0.1:0"})
	require.NoError(b, s.AddListener(l))
	require.NoError(b, s.Serve())
	b.Cleanup(func() { s.Close() })
	return &house{t: b, addr: l.Address()}
}

// allow permits everything.
type allow struct{ mochi.HookBase }

func (*allow) ID() string                                               { return "allow" }
func (*allow) Provides(b byte) bool                                     { return b == mochi.OnConnectAuthenticate || b == mochi.OnACLCheck }
func (*allow) OnConnectAuthenticate(*mochi.Client, packets.Packet) bool { return true }
func (*allow) OnACLCheck(*mochi.Client, string, bool) bool              { return true }

// BenchmarkFanOut has one publisher and many subscribers, through sockets, with MQTT 5 and
// durable sessions; ours are on disk. An operation is one message delivered to all. Compare
// ours with mochi's in one run.
func BenchmarkFanOut(b *testing.B) {
	for _, qos := range []byte{0, 1} {
		for _, n := range []int{50, 500} {
			for _, broker := range []string{"ours", "mochi"} {
				b.Run(fmt.Sprintf("qos%d/%d/%s", qos, n, broker), func(b *testing.B) {
					if broker == "mochi" {
						fanOut(b, bareMochi(b), qos, n)
						return
					}
					fanOut(b, newDisk(b, nil).house, qos, n)
				})
			}
		}
	}
}

// ahead is how many messages the publisher may be ahead of the slowest subscriber.
const ahead = 128

func fanOut(b *testing.B, h *house, qos byte, n int) {
	var readers sync.WaitGroup
	room := make([]chan struct{}, n)
	for i := range n {
		c := h.join(lasting(fmt.Sprint("sub", i), 5))
		c.subscribe(qos, "bench/#")
		room[i] = make(chan struct{}, ahead)
		readers.Go(func() {
			if err := read(c, b.N, room[i]); err != nil {
				b.Error(err)
			}
		})
	}
	pub := h.join(connect{id: "pub", version: 5})
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

// read reads n deliveries, and acknowledges those of one read in one write.
func read(c *client, n int, room <-chan struct{}) error {
	var acks []byte
	body := make([]byte, 1024)
	for range n {
		first, err := c.r.ReadByte()
		if err != nil {
			return err
		}
		length, _, err := packets.DecodeLength(c.r)
		if err != nil {
			return err
		}
		if _, err := io.ReadFull(c.r, body[:length]); err != nil {
			return err
		}
		if first&6 != 0 {
			at := 2 + len("bench/x")
			acks = append(acks, packets.Puback<<4, 2, body[at], body[at+1])
		}
		if c.r.Buffered() == 0 && len(acks) > 0 {
			if _, err := c.nc.Write(acks); err != nil {
				return err
			}
			acks = acks[:0]
		}
		<-room
	}
	if len(acks) > 0 {
		_, err := c.nc.Write(acks)
		return err
	}
	return nil
}

// BenchmarkRetained publishes retained messages on 100,000 topics, as fast as they are
// acknowledged, while they are written to disk.
func BenchmarkRetained(b *testing.B) {
	d := newDisk(b, func(o *mqtt.Options) { o.SaveInterval = config.Default().MQTT.SaveInterval })
	c := d.join(connect{id: "pub", version: 5})
	var acked sync.WaitGroup
	room := make(chan struct{}, ahead)
	acked.Go(func() {
		for range b.N {
			c.read(packets.Puback)
			<-room
		}
	})
	pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: 1, Retain: true}, Payload: make([]byte, 120)}
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		room <- struct{}{}
		pk.TopicName = fmt.Sprintf("tele/house_%06d/sensor/STATE", i*7919%100_000)
		pk.PacketID = uint16(i%60000 + 1)
		c.send(pk)
	}
	acked.Wait()
}
