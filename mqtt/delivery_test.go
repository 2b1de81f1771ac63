package mqtt_test

import (
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
	"watchtower/mqtt"
)

func TestOrderAcrossQoS(t *testing.T) {
	t.Parallel()
	h := build(t, func(o *mqtt.Options) { o.SessionQueue = 10000 })
	for _, version := range []byte{4, 5} {
		sub := h.join(connect{id: "sub", version: version, props: packets.Properties{ReceiveMaximum: 3}})
		pub := h.join(connect{id: "pub"})
		sub.subscribe(1, "o/#")
		const n = 3000
		go func() {
			for i := range n {
				pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: byte(i % 2)}, TopicName: "o/x", Payload: []byte(strconv.Itoa(i))}
				if i%2 == 1 {
					pk.PacketID = pub.id()
				}
				pub.send(pk)
			}
		}()
		for i := range n {
			require.Equal(t, strconv.Itoa(i), string(sub.message().Payload))
		}
		for range n / 2 {
			pub.read(packets.Puback)
		}
	}
}

// Both directions use the same packet ids at the same time.
func TestPacketIDsOfBothDirectionsDoNotMeet(t *testing.T) {
	t.Parallel()
	h := build(t, func(o *mqtt.Options) { o.SessionQueue = 20000 })
	a, b := h.join(connect{id: "a", version: 5, props: packets.Properties{ReceiveMaximum: 5}}), h.join(connect{id: "b"})
	a.subscribe(1, "to-a")
	b.subscribe(1, "to-b")
	const n = 2000
	run := func(c *client, to string, done chan<- []string) {
		go func() {
			for i := range n {
				c.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: 1}, PacketID: uint16(i%7 + 1), TopicName: to, Payload: []byte(strconv.Itoa(i))})
			}
		}()
		var got []string
		acks := 0
		for len(got) < n || acks < n {
			pk, err := c.next()
			if err != nil {
				break
			}
			switch pk.FixedHeader.Type {
			case packets.Publish:
				got = append(got, string(pk.Payload))
				c.ack(pk.PacketID)
			case packets.Puback:
				acks++
			}
		}
		done <- got
	}
	fromA, fromB := make(chan []string), make(chan []string)
	go run(a, "to-b", fromA)
	go run(b, "to-a", fromB)
	want := make([]string, n)
	for i := range want {
		want[i] = strconv.Itoa(i)
	}
	assert.Equal(t, want, <-fromA)
	assert.Equal(t, want, <-fromB)
}

func TestAPersistentSessionWaits(t *testing.T) {
	t.Parallel()
	h := build(t, nil)
	sub := h.join(connect{id: "sub", dirty: true})
	sub.subscribe(1, "watchtower/channels/5/#", "own/#")
	pub := h.join(connect{id: "pub"})
	pub.publish(1, "own/x", "unacknowledged")
	first := sub.read(packets.Publish) // not acknowledged
	sub.nc.Close()
	require.Eventually(t, func() bool { return h.broker.Stats().Connections == 1 }, 5*time.Second, time.Millisecond)
	assert.Len(t, h.hub.Directory().Channels(), 1, "it stays a member")
	for i := range 5 {
		pub.publish(1, "own/x", strconv.Itoa(i))
		pub.publish(0, "own/x", "QoS 0 does not wait")
	}
	pub.ping()
	assert.Equal(t, 5, h.dropped(bridge.Away))

	again, ack := h.dial(connect{id: "sub", dirty: true})
	assert.True(t, ack.SessionPresent)
	pk := again.message()
	assert.True(t, pk.FixedHeader.Dup)
	assert.Equal(t, "unacknowledged", string(pk.Payload))
	assert.Equal(t, first.PacketID, pk.PacketID)
	for i := range 5 {
		pk := again.message()
		assert.Equal(t, strconv.Itoa(i), string(pk.Payload))
		assert.False(t, pk.FixedHeader.Dup)
	}
	assert.Empty(t, again.messages())

	fresh, ack := h.dial(connect{id: "sub"})
	assert.False(t, ack.SessionPresent, "a clean session forgets")
	pub.publish(1, "own/x", "x")
	assert.Empty(t, fresh.messages())
	require.Eventually(t, func() bool { return len(h.hub.Directory().Channels()) == 0 }, 5*time.Second, 5*time.Millisecond)
}

func TestTakeover(t *testing.T) {
	t.Parallel()
	h := build(t, nil)
	old := h.join(connect{id: "twin", version: 5, dirty: true, props: packets.Properties{SessionExpiryInterval: 60, SessionExpiryIntervalFlag: true}})
	old.subscribe(1, "own/#")
	young, ack := h.dial(connect{id: "twin", version: 5, dirty: true, props: packets.Properties{SessionExpiryInterval: 60, SessionExpiryIntervalFlag: true}})
	assert.True(t, ack.SessionPresent)
	assert.Equal(t, packets.ErrSessionTakenOver.Code, old.ended())
	h.join(connect{id: "pub"}).publish(1, "own/x", "x")
	assert.Equal(t, "x", string(young.message().Payload))

	_, ack = h.dial(connect{id: "twin", version: 5})
	assert.False(t, ack.SessionPresent)
	assert.Equal(t, packets.ErrSessionTakenOver.Code, young.ended())
}

func TestReceiveMaximumHoldsBackAndNeverStalls(t *testing.T) {
	t.Parallel()
	h := build(t, nil)
	sub := h.join(connect{id: "sub", version: 5, props: packets.Properties{ReceiveMaximum: 5}})
	sub.subscribe(1, "own/#")
	pub := h.join(connect{id: "pub"})
	for i := range 50 {
		pub.publish(1, "own/x", strconv.Itoa(i))
	}
	var ids []uint16
	for range 5 {
		ids = append(ids, sub.read(packets.Publish).PacketID)
	}
	sub.ping() // only the answer comes: the window is full
	assert.Empty(t, sub.early)
	slices.Reverse(ids)
	for _, id := range ids {
		sub.ack(id)
	}
	for i := 5; i < 50; i++ {
		assert.Equal(t, strconv.Itoa(i), string(sub.message().Payload))
	}
}

func TestQoS2(t *testing.T) {
	t.Parallel()
	h := build(t, nil)
	sub := h.join(connect{id: "sub"})
	assert.Equal(t, []byte{2}, sub.subscribe(2, "own/#"))
	for _, version := range []byte{4, 5} {
		pub := h.join(connect{id: "pub", version: version})
		publish := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: 2}, PacketID: 9, TopicName: "own/x", Payload: []byte("once")}
		pub.send(publish)
		pub.read(packets.Pubrec)
		publish.FixedHeader.Dup = true
		pub.send(publish)
		pub.read(packets.Pubrec)
		pub.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Pubrel, Qos: 1}, PacketID: 9})
		pub.read(packets.Pubcomp)
		pk := sub.message()
		assert.Equal(t, byte(2), pk.FixedHeader.Qos)
		assert.Empty(t, sub.messages())
		pub.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Pubrel, Qos: 1}, PacketID: 9})
		again := pub.read(packets.Pubcomp)
		if version == 5 {
			assert.Equal(t, packets.ErrPacketIdentifierNotFound.Code, again.ReasonCode)
		}
	}
}

func TestRetained(t *testing.T) {
	t.Parallel()
	h := build(t, nil)
	pub := h.join(connect{id: "pub", version: 5})
	retain := func(topic, payload string, qos byte) {
		pub.publishPacket(packets.Packet{FixedHeader: packets.FixedHeader{Qos: qos, Retain: true}, TopicName: topic, Payload: []byte(payload)})
	}
	for _, topic := range []string{"a", "a/b", "a/b/c", "/a", "$own/x", "x//y"} {
		retain(topic, topic, 1)
	}
	for filter, want := range map[string][]string{
		"a": {"a"}, "a/#": {"a", "a/b", "a/b/c"}, "+": {"a"}, "a/+": {"a/b"}, "/+": {"/a"}, "$own/#": {"$own/x"}, "+/x": nil,
		"#": {"a", "a/b", "a/b/c", "/a", "x//y"}, "+/+/y": {"x//y"}, "+/b/#": {"a/b", "a/b/c"}, "$share/g/a/#": nil, "nothing": nil,
	} {
		c := h.join(connect{id: "sub"})
		c.subscribe(1, filter)
		got := slices.DeleteFunc(c.messages(), func(t string) bool { return len(t) > 10 }) // the gateway's own
		assert.ElementsMatch(t, want, got, filter)
	}
	c := h.join(connect{id: "sub", version: 5})
	sub := func(handling byte, asIs bool) {
		c.subscribeTo(packets.Properties{SubscriptionIdentifier: []int{7}}, packets.Subscription{Filter: "a/b", Qos: 1, RetainHandling: handling, RetainAsPublished: asIs})
	}
	sub(1, false)
	pk := c.message()
	assert.True(t, pk.FixedHeader.Retain)
	assert.Equal(t, []int{7}, pk.Properties.SubscriptionIdentifier)
	sub(1, false)
	assert.Empty(t, c.messages(), "only at the first subscription")
	sub(2, false)
	assert.Empty(t, c.messages())
	sub(0, false)
	assert.Len(t, c.messages(), 1)
	retain("a/b", "live", 1)
	assert.False(t, c.message().FixedHeader.Retain)
	sub(2, true)
	retain("a/b", "as published", 1)
	assert.True(t, c.message().FixedHeader.Retain)
	retain("a/b", "", 1)
	c.message()
	assert.Equal(t, 5, h.broker.Stats().Retained)
}

func TestWills(t *testing.T) {
	t.Parallel()
	h := build(t, nil)
	sub := h.join(connect{id: "sub", version: 5})
	sub.subscribe(1, "gone/#", "watchtower/channels/5/#")
	will := func(topic string) *packets.ConnectParams {
		return &packets.ConnectParams{WillTopic: topic, WillPayload: []byte("bye"), WillQos: 1}
	}
	t.Run("on a channel it is its client's broadcast", func(t *testing.T) {
		c := h.join(connect{id: "a", will: will("watchtower/channels/5/broadcast")})
		id, _ := c.me()
		c.nc.Close()
		pk := sub.message()
		assert.Equal(t, fmt.Sprintf("watchtower/channels/5/broadcast/%d", id), pk.TopicName)
		assert.Equal(t, []string{"a"}, user(pk.Properties, "sender-name"))
	})
	t.Run("never on another's topic", func(t *testing.T) {
		for _, topic := range []string{"watchtower/channels/5/broadcast/1", "watchtower/gateways/gw/status"} {
			_, ack := h.dial(connect{id: "a", version: 5, will: will(topic)})
			assert.GreaterOrEqual(t, ack.ReasonCode, byte(0x80), topic)
			_, ack = h.dial(connect{id: "a", will: will(topic)})
			assert.NotZero(t, ack.ReasonCode, topic)
		}
	})
	t.Run("every bridge of mosquitto has one on $SYS: it connects", func(t *testing.T) {
		all := h.join(connect{id: "all", version: 5})
		all.subscribe(1, "$SYS/#")
		h.join(connect{id: "a", version: 5, will: will("$SYS/broker/connection/a/state")}).nc.Close()
		h.join(connect{id: "a", will: will("$SYS/broker/connection/a/state")}).nc.Close()
		assert.Empty(t, all.messages())
	})
	t.Run("an empty will is one", func(t *testing.T) {
		w := will("gone/empty")
		w.WillPayload = nil
		h.join(connect{id: "a", will: w}).nc.Close()
		assert.Equal(t, "gone/empty", sub.message().TopicName)
	})
}

func TestDeletingASenderEndsItsSessions(t *testing.T) {
	t.Parallel()
	h := build(t, nil)
	c := h.join(connect{id: "doomed", version: 5, dirty: true, props: packets.Properties{SessionExpiryInterval: 60, SessionExpiryIntervalFlag: true}})
	c.subscribe(1, "watchtower/channels/5/#")
	hold, err := h.hub.Holds().Register(bridge.Naming{Name: "doomed", Lasting: true}, func() {})
	require.NoError(t, err)
	require.NoError(t, h.hub.Forget(hold.Sender()))
	assert.Equal(t, packets.ErrAdministrativeAction.Code, c.ended())
	assert.Empty(t, h.hub.Directory().Channels())
	_, ack := h.dial(connect{id: "doomed", version: 5, dirty: true})
	assert.False(t, ack.SessionPresent)
}

func TestStoppingTellsClientsAndSendsWhatWaits(t *testing.T) {
	t.Parallel()
	h := build(t, nil)
	sub := h.join(connect{id: "sub", version: 5})
	sub.subscribe(0, "own/#")
	pub := h.join(connect{id: "pub"})
	for i := range 100 {
		pub.publish(0, "own/x", strconv.Itoa(i))
	}
	pub.ping()
	h.stop()
	for i := range 100 {
		assert.Equal(t, strconv.Itoa(i), string(sub.message().Payload))
	}
	assert.Equal(t, packets.ErrServerShuttingDown.Code, sub.ended())
}
