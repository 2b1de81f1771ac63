package mqtt_test

import (
	"encoding/binary"
	"fmt"
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
	"watchtower/internal/harness"
	"watchtower/mqtt"
)

// Faults of mochi's own broker, which this one must not have.

func TestATruncatedSubscribeEndsOnlyItsConnection(t *testing.T) {
	t.Parallel()
	h := build(t, nil)
	c := h.join(connect{id: "evil", version: 5})
	c.raw([]byte{0x82, 6, 0, 1, 0, 0, 1, 'a'})
	assert.Equal(t, packets.ErrMalformedPacket.Code, c.ended())
	assert.Equal(t, 1, h.dropped(bridge.Malformed))
	h.join(connect{id: "good"}).ping()
}

func TestASubscriberThatDoesNotReadHoldsUpNobody(t *testing.T) {
	t.Parallel()
	const timeout = 12 * time.Second // by then its queue is full, also on a busy machine
	h := build(t, func(o *mqtt.Options) {
		o.WriteTimeout = timeout
		o.SessionQueue = 100
		o.SessionQueueBytes = 8 << 20 // unacknowledged messages count too, and a busy machine has more of them
	})
	stuck := h.join(connect{id: "stuck"})
	good := h.join(connect{id: "good"})
	publisher := h.join(connect{id: "publisher"})
	require.NoError(t, stuck.nc.(*net.TCPConn).SetReadBuffer(4<<10)) // else the system may take nearly all for it
	stuck.subscribe(0, "watchtower/channels/5/#")
	stuck.subscribe(0, "load/#") // at QoS 1 the window would bound the writing
	good.subscribe(1, "load/#")
	payload := make([]byte, 30000)
	const n = 400
	got := make(chan int)
	ahead := make(chan struct{}, 20) // a reader that keeps up loses nothing
	go func() {
		i := 0
		for ; i < n; i++ {
			pk := good.message()
			if int(binary.BigEndian.Uint32(pk.Payload)) != i {
				break
			}
			<-ahead
		}
		got <- i
	}()
	var worst time.Duration
	for i := range n {
		select {
		case ahead <- struct{}{}:
		case <-time.After(10 * time.Second):
			require.Fail(t, "a reader was held up")
		}
		binary.BigEndian.PutUint32(payload, uint32(i))
		start := time.Now()
		publisher.publish(1, "load/x", string(payload))
		worst = max(worst, time.Since(start))
	}
	assert.Less(t, worst, timeout/2, "the publisher was held up: who waits for the one that does not read waits for all of its time")
	assert.Equal(t, n, <-got, "in order")
	assert.Positive(t, h.dropped(bridge.QueueFull))
	assert.Eventually(t, func() bool { return h.broker.Stats().Connections == 2 }, harness.Patience, 5*time.Millisecond, "it is disconnected")
	var left bridge.Departure
	require.Eventually(t, func() bool {
		list, _ := h.hub.Registry().List(bridge.SenderFilter{Find: "stuck"}, 0, 10)
		if len(list) != 1 || list[0].Here {
			return false
		}
		left = list[0].Left
		return true
	}, harness.Patience, 5*time.Millisecond)
	assert.Contains(t, []bridge.Departure{bridge.LeftTooSlow, bridge.LeftBySilence}, left, "the system's own patience ends in the same moment, and says silence")
}

func TestExpiredSessionsLeaveNothingBehind(t *testing.T) {
	t.Parallel()
	h := build(t, nil)
	c := h.join(connect{id: "brief", version: 5, props: packets.Properties{SessionExpiryInterval: 1, SessionExpiryIntervalFlag: true}})
	c.subscribe(1, "watchtower/channels/5/#", "own/#")
	require.Len(t, h.hub.Directory().Channels(), 1)
	c.nc.Close()
	assert.Eventually(t, func() bool { return len(h.hub.Directory().Channels()) == 0 && h.broker.Stats().Sessions == 0 }, 10*time.Second, 20*time.Millisecond)
	again, ack := h.dial(connect{id: "brief", version: 5, dirty: true})
	assert.False(t, ack.SessionPresent)
	again.publish(1, "own/x", "x")
	assert.Empty(t, again.messages())
}

func TestAStrangerNamedInlineReplacesNobody(t *testing.T) {
	t.Parallel()
	h := build(t, nil)
	spy := h.join(connect{id: "spy"})
	spy.subscribe(1, "watchtower/channels/5/#")
	_, ack := h.dial(connect{id: "inline"})
	assert.NotZero(t, ack.ReasonCode)
	web := h.web("web")
	a := &bridge.Attachment{Via: viaHTTP, Broadcasts: true, Sends: true}
	require.NoError(t, h.hub.Attach(web, 5, a))
	_, err := h.hub.Publish(web, bridge.Publication{Channels: []bridge.Channel{5}, Content: bridge.Content{Data: []byte("x")}, Via: viaHTTP})
	require.NoError(t, err)
	assert.Equal(t, fmt.Sprintf("watchtower/channels/5/broadcast/%d", web.ID()), spy.message().TopicName)
}

func TestStrangersGetNoMemory(t *testing.T) {
	harness.Alone(t)
	h := build(t, nil)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var clients []*client
	for range 20 {
		c, _ := h.plain()
		c.raw([]byte{0x10, 0xff, 0xff, 0xff, 0x7f}) // CONNECT of 256 MB
		clients = append(clients, c)
	}
	for _, c := range clients {
		c.ended()
	}
	runtime.ReadMemStats(&after)
	assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(8<<20))
	assert.Equal(t, 20, h.dropped(bridge.Malformed))

	c := h.join(connect{id: "big", version: 5})
	c.raw([]byte{0x30, 0xff, 0xff, 0xff, 0x7f})
	assert.Equal(t, packets.ErrPacketTooLarge.Code, c.ended())
}

func TestBeforeConnect(t *testing.T) {
	t.Parallel()
	h := build(t, func(o *mqtt.Options) { o.ConnectTimeout = 100 * time.Millisecond })
	for name, b := range map[string][]byte{
		"nothing":               {},
		"half a CONNECT":        {0x10, 20, 0, 4, 'M', 'Q'},
		"PINGREQ":               {0xc0, 0},
		"PUBLISH":               {0x30, 3, 0, 1, 'a'},
		"HTTP":                  []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
		"endless length":        {0x10, 0x80, 0x80, 0x80, 0x80, 0x80},
		"an empty CONNECT":      {0x10, 0},
		"a wrong protocol name": {0x10, 12, 0, 4, 'M', 'Q', 'T', 'X', 4, 2, 0, 0, 0, 0},
		"a reserved flag":       {0x10, 12, 0, 4, 'M', 'Q', 'T', 'T', 4, 3, 0, 0, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			c, _ := h.plain()
			c.t = t
			c.raw(b)
			c.ended()
		})
	}
	_, ack := h.dial(connect{id: "future", version: 6})
	assert.Equal(t, packets.ErrUnsupportedProtocolVersion.Code, ack.ReasonCode)
	h.join(connect{id: "old", version: 3}).ping()

}

func TestProtocolErrorsEndTheConnection(t *testing.T) {
	t.Parallel()
	h := build(t, nil)
	for name, b := range map[string][]byte{
		"a second CONNECT":               {0x10, 16, 0, 4, 'M', 'Q', 'T', 'T', 5, 2, 0, 0, 0, 0, 3, 'b', 'a', 'd'},
		"CONNACK":                        {0x20, 2, 0, 0},
		"type 0":                         {0x00, 0},
		"SUBSCRIBE without a filter":     {0x82, 3, 0, 1, 0},
		"SUBSCRIBE with wrong flags":     {0x80, 7, 0, 1, 0, 0, 1, 'a', 0},
		"SUBSCRIBE without a packet id":  {0x82, 7, 0, 0, 0, 0, 1, 'a', 0},
		"PUBLISH at QoS 3":               {0x36, 6, 0, 1, 'a', 0, 1, 0},
		"PUBLISH without a packet id":    {0x32, 6, 0, 1, 'a', 0, 0, 0},
		"PUBLISH without a topic":        {0x30, 3, 0, 0, 0},
		"PUBLISH to a wildcard":          {0x30, 4, 0, 1, '+', 0},
		"PUBLISH with a topic not UTF-8": {0x30, 5, 0, 2, 0xc3, 0x28, 0},
		"PUBLISH with an alias of 0":     {0x30, 6, 0, 0, 3, 35, 0, 0},
		"PUBLISH with too high an alias": {0x30, 7, 0, 1, 'a', 3, 35, 0xff, 0xff},
		"PUBLISH with an unknown alias":  {0x30, 6, 0, 0, 3, 35, 0, 9},
		"PUBLISH with a wrong property":  {0x30, 6, 0, 1, 'a', 2, 17, 0},
		"a topic longer than the packet": {0x30, 3, 0xff, 0xff, 'a'},
		"AUTH":                           {0xf0, 2, 0, 0},
		"PINGREQ with a body":            {0xc0, 1, 0},
		"a subscription identifier of 0": {0x82, 9, 0, 1, 2, 11, 0, 0, 1, 'a', 0},
		"No Local on a shared one":       append([]byte{0x82, 17, 0, 1, 0, 0, 11}, "$share/g/ab\x04"...),
	} {
		t.Run(name, func(t *testing.T) {
			c := h.join(connect{id: "bad", version: 5})
			c.t = t
			c.raw(b)
			assert.GreaterOrEqual(t, c.ended(), byte(0x80))
		})
	}
	h.join(connect{id: "good"}).ping()
}

func TestKeepAlive(t *testing.T) {
	t.Parallel()
	h := build(t, nil)
	c := h.join(connect{id: "silent", version: 5, keep: 1})
	start := time.Now()
	assert.Equal(t, packets.ErrKeepAliveTimeout.Code, c.ended())
	assert.GreaterOrEqual(t, time.Since(start), 1400*time.Millisecond)
}

func TestConnectionLimit(t *testing.T) {
	t.Parallel()
	h := build(t, func(o *mqtt.Options) { o.MQTTConnections = 2 })
	one, two := h.join(connect{id: "1"}), h.join(connect{id: "2"})
	three, _ := h.plain()
	three.ended()
	one.ping()
	two.nc.Close()
	require.Eventually(t, func() bool { return h.broker.Stats().Connections == 1 }, 5*time.Second, time.Millisecond)
	h.join(connect{id: "3"}).ping()
}
