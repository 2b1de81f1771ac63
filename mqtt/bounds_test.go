package mqtt_test

import (
	"bytes"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
	"watchtower/mqtt"
)

// The old connection breaks while its client comes back.
func TestACleanStartLeavesOneSessionInTheTable(t *testing.T) {
	t.Parallel()
	h := build(t, nil)
	for range 300 {
		a := h.join(connect{id: "c"})
		go a.nc.Close()
		b := h.join(connect{id: "c"})
		b.ping()
		require.Equal(t, 1, h.broker.Stats().Sessions)
		c, ack := h.dial(connect{id: "c", dirty: true})
		require.Zero(t, ack.ReasonCode)
		require.False(t, ack.SessionPresent, "a clean session ends with its connection")
		b.ended() // it was in the table
		c.nc.Close()
	}
}

func TestAReplacedSessionDoesNotExpireItsSuccessor(t *testing.T) {
	t.Parallel()
	h := build(t, nil)
	brief := connect{id: "c", version: 5, props: packets.Properties{SessionExpiryInterval: 1, SessionExpiryIntervalFlag: true}}
	for range 200 {
		a := h.join(brief)
		go a.nc.Close()
		h.join(brief).ping()
	}
	last := h.join(brief)
	time.Sleep(2500 * time.Millisecond) // the expiry is in seconds, and the sweep runs each second
	last.ping()
	assert.Equal(t, 1, h.broker.Stats().Sessions)
}

// Back-pressure must not look like a silent client.
func TestKeepAliveUnderBackPressure(t *testing.T) {
	t.Parallel()
	h := build(t, nil)
	h.hub.AddLink(viaHTTP, 1, 150*time.Millisecond) // it does not run: always full
	s := h.web("m")
	require.NoError(t, h.hub.Attach(s, 5, &bridge.Attachment{Via: viaHTTP, Broadcasts: true}))
	c := h.join(connect{id: "busy", keep: 1})
	var buf bytes.Buffer
	for range 40 {
		pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Publish}, ProtocolVersion: 4, TopicName: "watchtower/channels/5/broadcast", Payload: make([]byte, 100)}
		require.NoError(t, pk.PublishEncode(&buf))
	}
	c.raw(append(buf.Bytes(), packets.Pingreq<<4, 0))
	begin := time.Now()
	c.read(packets.Pingresp)
	assert.Greater(t, time.Since(begin), 3*time.Second, "it was held back for longer than its keep-alive")
}

func TestRetainedForASubscriptionIsBounded(t *testing.T) {
	t.Parallel()
	h := build(t, nil)
	pub := h.join(connect{id: "p"})
	for i := range 500 {
		pub.publishPacket(packets.Packet{FixedHeader: packets.FixedHeader{Qos: 1, Retain: true}, TopicName: fmt.Sprint("r/", i), Payload: make([]byte, 100)})
	}
	c := h.join(connect{id: "s"})
	var subs packets.Subscriptions
	for range 1000 {
		subs = append(subs, packets.Subscription{Filter: "r/#", Qos: 1})
	}
	c.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Subscribe, Qos: 1}, PacketID: 1, Filters: subs})
	require.Eventually(t, func() bool { return h.dropped(bridge.QueueFull) > 400_000 }, 30*time.Second, time.Millisecond)
	held, _ := h.broker.Held("s")
	assert.LessOrEqual(t, held, 1000+500+1024, "the queue, as much again as is retained, and the window")
}

// A subscriber that is still taking what was retained loses no new message: the retained ones
// do not count against its queue.
func TestWhatIsNewHasRoomBesideWhatIsRetained(t *testing.T) {
	t.Parallel()
	versions(t, func(t *testing.T, version byte) {
		const retained, live = 3000, 90
		h := build(t, func(o *mqtt.Options) { o.SessionQueue = 100 })
		pub := h.join(connect{id: "p"})
		for i := range retained {
			pub.publishPacket(packets.Packet{FixedHeader: packets.FixedHeader{Qos: 1, Retain: true}, TopicName: fmt.Sprint("r/", i), Payload: []byte("old")})
		}
		for qos := range byte(3) {
			c := h.join(connect{id: "s", version: version, props: packets.Properties{ReceiveMaximum: 5}})
			c.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Subscribe, Qos: 1}, PacketID: 1, Filters: packets.Subscriptions{{Filter: "#", Qos: qos}}})
			c.read(packets.Suback) // it acknowledges nothing yet
			for i := range live {
				require.Zero(t, pub.publish(1, "new", fmt.Sprint(i)))
			}
			next, old := 0, 0
			for next < live || old < retained {
				pk := c.message()
				if pk.TopicName == "new" {
					require.Equal(t, fmt.Sprint(next), string(pk.Payload), "QoS %d", qos)
					next++
				} else {
					old++
				}
			}
			assert.Equal(t, retained, old)
			assert.Zero(t, h.dropped(bridge.QueueFull))
		}
	})
}

// A new subscriber never gets an older retained value after a newer one.
func TestRetainedIsNotOlderThanWhatCameBefore(t *testing.T) {
	t.Parallel()
	h := build(t, func(o *mqtt.Options) { o.SessionQueue = 100_000 })
	pub := h.join(connect{id: "p"})
	for i := range 1000 {
		pub.publishPacket(packets.Packet{FixedHeader: packets.FixedHeader{Qos: 1, Retain: true}, TopicName: fmt.Sprint("r/", i), Payload: []byte("x")})
	}
	var stop atomic.Bool
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; !stop.Load(); i++ {
			pub.publishPacket(packets.Packet{FixedHeader: packets.FixedHeader{Qos: 1, Retain: true}, TopicName: "r/0", Payload: fmt.Appendf(nil, "%09d", i)})
		}
	}()
	defer func() { stop.Store(true); <-done }()
	for range 20 {
		c := h.join(connect{id: "s"})
		c.subscribe(0, "r/#")
		last := ""
		for range 1000 {
			if pk := c.read(packets.Publish); pk.TopicName == "r/0" && len(pk.Payload) == 9 {
				require.GreaterOrEqual(t, string(pk.Payload), last)
				last = string(pk.Payload)
			}
		}
	}
}

func TestWhatIsInFlightCountsAgainstTheBytes(t *testing.T) {
	t.Parallel()
	h := build(t, func(o *mqtt.Options) { o.SessionQueueBytes = 1 << 20 })
	c := h.join(connect{id: "s"})
	c.subscribe(1, "x")
	go func() { // reads, and acknowledges nothing
		b := make([]byte, 1<<20)
		for {
			if _, err := c.nc.Read(b); err != nil {
				return
			}
		}
	}()
	pub := h.join(connect{id: "p"})
	for range 50 {
		pub.publish(1, "x", string(make([]byte, 300_000)))
	}
	_, held := h.broker.Held("s")
	assert.LessOrEqual(t, held, 2<<20, "the bytes, and as much again of those whose publisher waits")
	assert.Positive(t, h.dropped(bridge.QueueFull))
}

func TestAResendKeepsToASmallerReceiveMaximum(t *testing.T) {
	t.Parallel()
	h := build(t, nil)
	o := connect{id: "r", version: 5, dirty: true, props: packets.Properties{SessionExpiryInterval: 100, SessionExpiryIntervalFlag: true}}
	c := h.join(o)
	c.subscribe(1, "x")
	pub := h.join(connect{id: "p"})
	for i := range 50 {
		pub.publish(1, "x", fmt.Sprint(i))
	}
	for range 50 {
		c.read(packets.Publish)
	}
	o.props.ReceiveMaximum = 2
	again := h.join(o)
	for range 2 {
		again.ping()
	}
	require.Len(t, again.early, 2, "no more than it takes")
	for i := range 50 {
		pk := again.message()
		assert.Equal(t, fmt.Sprint(i), string(pk.Payload))
		assert.True(t, pk.FixedHeader.Dup)
	}
}

func TestADeletedSenderHasNoWill(t *testing.T) {
	t.Parallel()
	h := build(t, nil)
	reg, err := h.hub.Register(bridge.Registration{Name: "w"})
	require.NoError(t, err)
	s, _ := h.hub.Tokens().Sender(reg.Token)
	l := h.join(connect{id: "l"})
	l.subscribe(1, "watchtower/channels/5/#")
	c := h.join(connect{id: "w", version: 5, password: reg.Token, will: &packets.ConnectParams{WillTopic: "watchtower/channels/5/broadcast", WillPayload: []byte("dead")}})
	h.hub.Forget(s)
	c.ended()
	require.Eventually(t, func() bool { return h.dropped(bridge.Refused) == 1 }, 5*time.Second, time.Millisecond)
	assert.Empty(t, l.messages())
}

func TestASharedMessageIsLostOnceIfNobodyTakesIt(t *testing.T) {
	t.Parallel()
	h := build(t, func(o *mqtt.Options) { o.SessionQueue = 1 })
	for i := range 3 {
		c := h.join(connect{id: fmt.Sprint("w", i), dirty: true})
		c.subscribe(1, "$share/g/jobs")
		c.nc.Close()
	}
	require.Eventually(t, func() bool { return h.broker.Stats().Connections == 0 }, 5*time.Second, time.Millisecond)
	pub := h.join(connect{id: "p"})
	for range 5 {
		pub.publish(1, "jobs", "x")
	}
	assert.Equal(t, 2, h.dropped(bridge.QueueFull), "three wait, two are lost")
}
