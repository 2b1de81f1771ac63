package mqtt_test

import (
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
	"watchtower/mqtt"
)

// crowd publishes n messages, at most so many unacknowledged as most, while it reads and
// acknowledges deliveries. It returns their payloads when all its publishes are
// acknowledged and it has got as many as expected.
func (c *client) crowd(qos byte, topic string, n, most, expect int) (got []string) {
	c.t.Helper()
	room := make(chan struct{}, n)
	for range most {
		room <- struct{}{}
	}
	var writing sync.WaitGroup
	var mu sync.Mutex // for writing
	write := func(b []byte) {
		mu.Lock()
		defer mu.Unlock()
		_, _ = c.nc.Write(b)
	}
	writing.Go(func() {
		for i := range n {
			<-room
			write(frame(0x30|qos<<1, text(topic), u16(uint16(i%60_000+1)), props(c.version), []byte(strconv.Itoa(i))))
		}
	})
	defer writing.Wait()
	acked := 0
	last := 0
	for acked < n || len(got) < expect {
		pk, err := c.next()
		require.NoError(c.t, err, "%d of %d came, %d acknowledged", len(got), expect, acked)
		switch pk.FixedHeader.Type {
		case packets.Publish:
			got = append(got, string(pk.Payload))
			write(append([]byte{[]byte{0, 0x40, 0x50}[pk.FixedHeader.Qos], 2}, u16(pk.PacketID)...))
		case packets.Pubrel:
			write(append([]byte{0x70, 2}, u16(pk.PacketID)...))
		case packets.Pubrec:
			write(append([]byte{0x62, 2}, u16(pk.PacketID)...))
		case packets.Puback, packets.Pubcomp:
			acked++
			assert.EqualValues(c.t, last%60_000+1, pk.PacketID, "MQTT-4.6.0-2: in the order of the publishes")
			last++
			room <- struct{}{}
		}
	}
	return got
}

func numbers(n int) (all []string) {
	for i := range n {
		all = append(all, strconv.Itoa(i))
	}
	return all
}

// A client that subscribes to its own messages, and publishes as many as it may before an
// acknowledgement, gets all of them.
func TestAClientThatFloodsItselfLosesNothing(t *testing.T) {
	t.Parallel()
	const n = 3000
	for _, version := range []byte{4, 5} {
		for qos := byte(1); qos <= 2; qos++ {
			t.Run(fmt.Sprint("MQTT ", version, " QoS ", qos), func(t *testing.T) {
				h := build(t, nil)
				c, ack := h.dial(connect{id: "c", version: version})
				most := n
				if version == 5 {
					most = int(ack.Properties.ReceiveMaximum)
					assert.LessOrEqual(t, most, 500, "well below the queue")
				}
				c.subscribe(qos, "own/x")
				assert.Equal(t, numbers(n), c.crowd(qos, "own/x", n, most, n))
				assert.Zero(t, h.dropped(bridge.QueueFull))
			})
		}
	}
}

// Two clients that flood each other go on, though each waits for the other.
func TestTwoClientsThatFloodEachOtherLoseNothing(t *testing.T) {
	t.Parallel()
	const n = 5000
	h := build(t, func(o *mqtt.Options) { o.SessionQueue = 100 })
	a := h.join(connect{id: "a", version: 5, props: packets.Properties{ReceiveMaximum: 20}})
	b := h.join(connect{id: "b"})
	a.subscribe(1, "to-a")
	b.subscribe(1, "to-b")
	var both sync.WaitGroup
	both.Go(func() { assert.Equal(t, numbers(n), a.crowd(1, "to-b", n, 25, n)) })
	both.Go(func() { assert.Equal(t, numbers(n), b.crowd(1, "to-a", n, n, n)) })
	both.Wait()
	assert.Zero(t, h.dropped(bridge.QueueFull))
}

// Many publishers are slowed down to one slow receiver, and can still ping.
func TestAReaderThatIsSlowerThanItsPublishersGetsAll(t *testing.T) {
	t.Parallel()
	lost := -1
	for try := 0; try < 3 && lost != 0; try++ { // nobody waits for one that a busy machine gives no time for a second
		lost = slowReader(t)
	}
	assert.Zero(t, lost)
}

// slowReader is a client that many flood. It returns how many messages were lost.
func slowReader(t *testing.T) (lost int) {
	const publishers, each = 20, 100
	h := build(t, func(o *mqtt.Options) { o.SessionQueue = 50 })
	sub := h.join(connect{id: "sub", version: 5, props: packets.Properties{ReceiveMaximum: 5}})
	sub.subscribe(1, "own/#")
	var all sync.WaitGroup
	for p := range publishers {
		c := h.join(connect{id: fmt.Sprint("p", p)})
		all.Go(func() {
			for i := range each {
				c.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: 1}, PacketID: c.id(), TopicName: fmt.Sprint("own/", p), Payload: []byte(strconv.Itoa(i))})
				if i%10 == 0 {
					c.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Pingreq}})
				}
			}
			c.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Disconnect}})
			for {
				if _, err := c.next(); err != nil {
					return // its publishes before that count
				}
			}
		})
	}
	next := map[string]int{}
	for range publishers * each {
		pk, err := sub.next()
		if lost = h.dropped(bridge.QueueFull); lost > 0 {
			break
		}
		require.NoError(t, err)
		sub.ack(pk.PacketID)
		assert.Equal(t, strconv.Itoa(next[pk.TopicName]), string(pk.Payload), "of one publisher in order")
		next[pk.TopicName]++
	}
	if lost > 0 {
		sub.nc.Close() // nobody waits for it
	}
	all.Wait()
	return lost
}

// Publishers wait only a short time for a client that does not read, and then not at all.
func TestNobodyWaitsForWhoDoesNotRead(t *testing.T) {
	t.Parallel()
	h := build(t, func(o *mqtt.Options) { o.SessionQueue = 10 })
	deaf := h.join(connect{id: "deaf", version: 5, props: packets.Properties{ReceiveMaximum: 1}})
	deaf.subscribe(1, "own/x")
	well := h.join(connect{id: "well"})
	well.subscribe(1, "own/x")
	pub := h.join(connect{id: "pub"})
	var worst, all time.Duration
	for i := range 1000 {
		begin := time.Now()
		require.Zero(t, pub.publish(1, "own/x", strconv.Itoa(i)))
		worst, all = max(worst, time.Since(begin)), all+time.Since(begin)
		assert.Equal(t, strconv.Itoa(i), string(well.message().Payload))
	}
	assert.Less(t, worst, 4*time.Second)
	assert.Less(t, all, 20*time.Second, "a busy machine takes some for a thousand; to wait for each would be a thousand")
	assert.GreaterOrEqual(t, h.dropped(bridge.QueueFull), 900)
	held, _ := h.broker.Held("deaf")
	assert.LessOrEqual(t, held, 2*10+1)

	for range held { // once it reads, publishers wait for it again
		deaf.message()
	}
	for i := range 200 {
		require.Zero(t, pub.publish(1, "own/x", strconv.Itoa(i)))
		assert.Equal(t, strconv.Itoa(i), string(deaf.message().Payload))
		well.message()
	}
}

// A takeover does not wait for the old connection's held publishes.
func TestATakeoverOfAPublisherThatIsHeldBack(t *testing.T) {
	t.Parallel()
	h := build(t, func(o *mqtt.Options) { o.SessionQueue = 4 })
	deaf := h.join(connect{id: "deaf", version: 5, props: packets.Properties{ReceiveMaximum: 1}})
	deaf.subscribe(1, "own/x")
	pub := h.join(connect{id: "pub"})
	says := func(n int) {
		for i := range n {
			pub.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: 1}, PacketID: pub.id(), TopicName: "own/x", Payload: []byte(strconv.Itoa(i))})
		}
	}
	says(50)
	for range 5 {
		pub.read(packets.Puback)
	}
	took := time.Hour // the least of three: a busy machine takes its time
	for range 3 {
		begin := time.Now()
		pub = h.join(connect{id: "pub"})
		pub.ping()
		took = min(took, time.Since(begin))
		says(50)
	}
	assert.Less(t, took, 900*time.Millisecond)
}
