package mqtt_test

import (
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// MQTT-3.3.1-8 and -12, 3.1.1 MQTT-3.3.1-8 and -9.
func TestTheRetainFlagSaysThatTheSubscriptionIsNew(t *testing.T) {
	t.Parallel()
	versions(t, func(t *testing.T, version byte) {
		h := build(t, nil)
		pub := h.join(connect{id: "pub", version: version})
		early := h.join(connect{id: "early", version: version})
		early.subscribe(1, "own/x")
		pub.retain("own/x", "first")
		pub.retain("own/x", "second")
		for _, body := range []string{"first", "second"} {
			pk := early.message()
			assert.Equal(t, body, string(pk.Payload))
			assert.False(t, pk.FixedHeader.Retain, "an established subscription")
		}
		late := h.join(connect{id: "late", version: version})
		late.subscribe(1, "own/+")
		pk := late.message()
		assert.Equal(t, "second", string(pk.Payload), "MQTT-3.3.1-5: the last one")
		assert.True(t, pk.FixedHeader.Retain, "a new subscription")
		pub.retain("own/x", "third")
		assert.False(t, late.message().FixedHeader.Retain)
		pub.publish(1, "own/x", "passing")
		assert.False(t, late.message().FixedHeader.Retain)
		last := h.join(connect{id: "last", version: version})
		last.subscribe(1, "own/x")
		assert.Equal(t, []string{"third"}, last.bodies(), "MQTT-3.3.1-8: without the flag nothing is stored or replaced")
	})
}

func TestAnEmptyRetainedMessageRemovesAndIsDelivered(t *testing.T) { // MQTT-3.3.1-6 and -7, 3.1.1 MQTT-3.3.1-10 and -11
	versions(t, func(t *testing.T, version byte) {
		for qos := range byte(3) {
			h := build(t, nil)
			sub := h.join(connect{id: "sub", version: version})
			sub.subscribe(1, "own/#")
			sub.retain("own/x", "x")
			sub.retainAt(qos, "own/x", "")
			got := sub.all()
			require.Len(t, got, 2)
			assert.Empty(t, got[1].Payload)
			assert.Equal(t, min(qos, 1), got[1].FixedHeader.Qos)
			assert.False(t, got[1].FixedHeader.Retain)
			late := h.join(connect{id: "late", version: version})
			late.subscribe(1, "own/#")
			assert.Empty(t, late.messages())
			sub.retainAt(qos, "own/never", "")
			sub.ping()
			assert.Equal(t, []string{"own/never"}, late.messages(), "with nothing to remove")
		}
	})
}

func TestARetainedMessageHasTheLowerQoS(t *testing.T) { // MQTT-3.8.4-8, MQTT-3.3.1-5
	versions(t, func(t *testing.T, version byte) {
		h := build(t, nil)
		c := h.join(connect{id: "c", version: version})
		for qos := range byte(3) {
			c.retainAt(qos, "own/x", "x")
			for granted := range byte(2) {
				require.Equal(t, []byte{granted}, c.subscribe(granted, "own/x"))
				pk := c.message()
				assert.True(t, pk.FixedHeader.Retain)
				assert.Equal(t, min(qos, granted), pk.FixedHeader.Qos, "published at %d, granted %d", qos, granted)
				c.unsubscribe("own/x")
			}
		}
	})
}

func TestAQoS0RetainedMessageReplacesOneOfQoS1(t *testing.T) { // 3.3.1.3, 3.1.1 MQTT-3.3.1-7
	versions(t, func(t *testing.T, version byte) {
		h := build(t, nil)
		c := h.join(connect{id: "c", version: version})
		c.retainAt(1, "own/x", "one")
		c.retainAt(0, "own/x", "none")
		c.subscribe(1, "own/x")
		assert.Equal(t, []string{"none"}, c.bodies())
	})
}

func TestRetainedMessagesComeAgainWithTheSameFilter(t *testing.T) { // MQTT-3.8.4-4, 3.1.1 MQTT-3.8.4-3
	versions(t, func(t *testing.T, version byte) {
		h := build(t, nil)
		c := h.join(connect{id: "c", version: version})
		c.retain("own/x", "x")
		for range 3 {
			c.subscribe(1, "own/x")
			got := c.all()
			require.Len(t, got, 1)
			assert.True(t, got[0].FixedHeader.Retain)
		}
	})
}

func TestRetainedMessagesOutliveTheirPublisher(t *testing.T) { // 4.1: they are no part of a session
	versions(t, func(t *testing.T, version byte) {
		h := build(t, nil)
		c := h.join(connect{id: "c", version: version})
		c.retain("own/x", "x")
		h.lose(c, 0)
		c = h.join(connect{id: "c", version: version})
		c.subscribe(1, "own/x")
		assert.Equal(t, []string{"x"}, c.bodies())
	})
}

func TestRetainHandling(t *testing.T) { // MQTT-3.3.1-9 to -11
	for handling, want := range map[byte][2]int{0: {1, 1}, 1: {1, 0}, 2: {0, 0}} {
		h := build(t, nil)
		c := h.join(lasting("c", 5))
		c.retain("own/x", "x")
		sub := packets.Subscription{Filter: "own/x", Qos: 1, RetainHandling: handling}
		for _, n := range want {
			c.subscribeTo(packets.Properties{}, sub)
			assert.Len(t, c.messages(), n, "handling %d", handling)
		}
		h.lose(c, 0)
		c = h.join(lasting("c", 5))
		assert.Empty(t, c.messages())
		c.subscribeTo(packets.Properties{}, sub)
		assert.Len(t, c.messages(), want[1], "handling %d: the session has the subscription", handling)
		c.unsubscribe("own/x")
		c.subscribeTo(packets.Properties{}, sub)
		assert.Len(t, c.messages(), want[0], "handling %d: it is new", handling)
	}
}

func TestRetainAsPublished(t *testing.T) { // MQTT-3.3.1-12 and -13
	for _, asPublished := range []bool{false, true} {
		h := build(t, nil)
		c := h.join(connect{id: "c", version: 5})
		c.retain("own/x", "x")
		c.subscribeTo(packets.Properties{}, packets.Subscription{Filter: "own/#", Qos: 1, RetainAsPublished: asPublished})
		assert.True(t, c.message().FixedHeader.Retain, "for a new subscription in any case")
		c.retain("own/x", "live")
		assert.Equal(t, asPublished, c.message().FixedHeader.Retain)
		c.retain("own/x", "")
		assert.Equal(t, asPublished, c.message().FixedHeader.Retain)
		c.publish(1, "own/x", "plain")
		assert.False(t, c.message().FixedHeader.Retain)
	}
}

func TestARetainedMessageExpires(t *testing.T) { // 3.3.1.3, MQTT-3.3.2-6
	versions(t, func(t *testing.T, version byte) {
		var k clock
		h := build(t, k.use)
		pub := h.join(connect{id: "pub", version: 5})
		pub.publishPacket(packets.Packet{FixedHeader: packets.FixedHeader{Qos: 1, Retain: true}, TopicName: "own/x",
			Payload: []byte("x"), Properties: packets.Properties{MessageExpiryInterval: 100}})
		pub.retain("own/y", "stays")
		sub := h.join(connect{id: "sub", version: version})
		k.pass(40 * time.Second)
		sub.subscribe(1, "own/x")
		pk := sub.message()
		if version == 5 {
			assert.InDelta(t, 60, pk.Properties.MessageExpiryInterval, 5)
		}
		k.pass(65 * time.Second)
		sub.subscribe(1, "own/#")
		assert.Equal(t, []string{"stays"}, sub.bodies())
	})
}

func TestRetainedMessagesKeepTheirProperties(t *testing.T) { // MQTT-3.3.2-4, -15, -16, -17, -20
	h := build(t, nil)
	c := h.join(connect{id: "c", version: 5})
	want := packets.Properties{PayloadFormat: 1, PayloadFormatFlag: true, ContentType: "text/x", ResponseTopic: "to", CorrelationData: []byte{0, 1},
		User: []packets.UserProperty{{Key: "k", Val: "2"}, {Key: "k", Val: "1"}}}
	c.publishPacket(packets.Packet{FixedHeader: packets.FixedHeader{Qos: 1, Retain: true}, TopicName: "own/x", Payload: []byte("x"), Properties: want})
	c.subscribe(1, "own/x")
	assert.Equal(t, want, c.message().Properties)
}

func TestASharedSubscriptionGetsNoRetainedMessages(t *testing.T) { // 3.8.4, 4.8.2
	versions(t, func(t *testing.T, version byte) {
		h := build(t, nil)
		c := h.join(connect{id: "c", version: version})
		c.retain("own/x", "kept")
		c.subscribe(1, "$share/g/own/x")
		assert.Empty(t, c.messages())
		c.retain("own/x", "live")
		pk := c.message()
		assert.Equal(t, "live", string(pk.Payload))
		assert.False(t, pk.FixedHeader.Retain)
	})
}
