package mqtt_test

import (
	"fmt"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// MQTT-3.8.4-6, MQTT-3.9.3-1: one code for each filter, in their order.
func TestSubackHasACodeForEachFilterInOrder(t *testing.T) {
	t.Parallel()
	versions(t, func(t *testing.T, version byte) {
		h := build(t, nil)
		c := h.join(connect{id: "c", version: version})
		bad := map[byte]byte{4: 0x80, 5: 0x8f}[version]
		c.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Subscribe, Qos: 1}, PacketID: 0x1234, Filters: packets.Subscriptions{
			{Filter: "a#"}, {Filter: "good/0"}, {Filter: "a/#/b", Qos: 1}, {Filter: "good/1", Qos: 1}, {Filter: "+a"}, {Filter: "", Qos: 1},
			{Filter: "$share/x"}, {Filter: "$share//a", Qos: 2}, {Filter: "$share/a+/b"}, {Filter: "$share/#/b"}, {Filter: "$share/g/"},
			{Filter: "good/2", Qos: 2},
		}})
		ack := c.read(packets.Suback)
		assert.Equal(t, uint16(0x1234), ack.PacketID, "MQTT-3.8.4-2")
		assert.Equal(t, []byte{bad, 0, bad, 1, bad, bad, bad, bad, bad, bad, bad, 2}, ack.ReasonCodes)
		for _, topic := range []string{"good/0", "good/1", "good/2"} {
			c.publish(2, topic, "x")
			assert.Equal(t, topic[5]-'0', c.message().FixedHeader.Qos, "MQTT-3.8.4-8")
		}
	})
}

func TestUnsubackHasACodeForEachFilterInOrder(t *testing.T) { // MQTT-3.10.4-4 to -6, MQTT-3.11.3-1 and -2
	versions(t, func(t *testing.T, version byte) {
		h := build(t, nil)
		c := h.join(connect{id: "c", version: version})
		c.subscribe(1, "own/a", "own/b", "$share/g/own/c")
		c.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Unsubscribe, Qos: 1}, PacketID: 0x1234, Filters: packets.Subscriptions{
			{Filter: "own/never"}, {Filter: "own/b"}, {Filter: "own/+"}, {Filter: "$share/h/own/c"}, {Filter: "own/c"}, {Filter: "$share/g/own/c"}, {Filter: "own/b"},
		}})
		ack := c.read(packets.Unsuback)
		assert.Equal(t, uint16(0x1234), ack.PacketID, "MQTT-3.10.4-4")
		if version == 5 {
			assert.Equal(t, []byte{0x11, 0, 0x11, 0x11, 0x11, 0, 0x11}, ack.ReasonCodes)
		} else {
			assert.Equal(t, 2, ack.FixedHeader.Remaining, "nothing but the packet id")
		}
		for _, topic := range []string{"own/a", "own/b", "own/c"} {
			c.publish(1, topic, "x")
		}
		assert.Equal(t, []string{"own/a"}, c.messages(), "MQTT-3.10.4-1: filters are compared character by character")
	})
}

func TestTheSameFilterReplacesItsSubscription(t *testing.T) { // MQTT-3.8.4-3
	versions(t, func(t *testing.T, version byte) {
		h := build(t, nil)
		c := h.join(connect{id: "c", version: version})
		for _, qos := range []byte{0, 1, 0} {
			c.subscribe(qos, "own/x")
			c.publish(1, "own/x", "x")
			got := c.all()
			require.Len(t, got, 1)
			assert.Equal(t, qos, got[0].FixedHeader.Qos)
		}
		c.subscribe(0, "own/x", "own/x")
		c.unsubscribe("own/x")
		c.publish(1, "own/x", "x")
		assert.Empty(t, c.messages())
	})
	t.Run("5: with all its options", func(t *testing.T) {
		c := build(t, nil).join(connect{id: "c", version: 5})
		sub := packets.Subscription{Filter: "own/x", Qos: 1, NoLocal: true, RetainAsPublished: true}
		c.subscribeTo(packets.Properties{SubscriptionIdentifier: []int{5}}, sub)
		c.retain("own/x", "x")
		assert.Empty(t, c.messages())
		c.subscribeTo(packets.Properties{SubscriptionIdentifier: []int{6}}, packets.Subscription{Filter: "own/x", Qos: 1, RetainHandling: 2})
		c.retain("own/x", "x")
		pk := c.message()
		assert.False(t, pk.FixedHeader.Retain)
		assert.Equal(t, []int{6}, pk.Properties.SubscriptionIdentifier)
		c.subscribeTo(packets.Properties{}, packets.Subscription{Filter: "own/x", Qos: 1, RetainHandling: 2, RetainAsPublished: true})
		c.retain("own/x", "x")
		pk = c.message()
		assert.True(t, pk.FixedHeader.Retain)
		assert.Empty(t, pk.Properties.SubscriptionIdentifier)
		c.subscribeTo(packets.Properties{}, sub)
		c.messages()
		c.retain("own/x", "x")
		assert.Empty(t, c.messages())
	})
}

// MQTT-3.3.4-2, 3.1.1 MQTT-3.3.5-1: at the highest QoS of them. The server may deliver once
// or once for each; this one delivers once.
func TestOverlappingSubscriptionsDeliverOnceAtTheHighestQoS(t *testing.T) {
	t.Parallel()
	versions(t, func(t *testing.T, version byte) {
		h := build(t, nil)
		c := h.join(connect{id: "c", version: version})
		c.subscribe(0, "own/#", "own/x")
		c.subscribe(1, "own/+")
		c.subscribe(0, "+/x")
		c.publish(1, "own/x", "x")
		got := c.all()
		require.Len(t, got, 1)
		assert.Equal(t, byte(1), got[0].FixedHeader.Qos)
		c.unsubscribe("own/+")
		c.publish(1, "own/x", "x")
		got = c.all()
		require.Len(t, got, 1)
		assert.Equal(t, byte(0), got[0].FixedHeader.Qos)
	})
}

func TestSubscriptionIdentifiers(t *testing.T) { // MQTT-3.3.4-3 to -5
	h := build(t, nil)
	c := h.join(lasting("c", 5))
	with := func(id int, filters ...string) {
		var subs packets.Subscriptions
		for _, f := range filters {
			subs = append(subs, packets.Subscription{Filter: f, Qos: 1})
		}
		c.subscribeTo(packets.Properties{SubscriptionIdentifier: []int{id}}, subs...)
	}
	with(268435455, "own/#")
	with(7, "own/+", "other/x")
	c.subscribe(1, "own/x")
	with(128, "$share/g/own/y")
	identifiers := func(topic string) (ids []int) {
		c.publish(1, topic, "x")
		for _, pk := range c.all() {
			ids = append(ids, pk.Properties.SubscriptionIdentifier...)
		}
		return ids
	}
	assert.ElementsMatch(t, []int{7, 268435455}, identifiers("own/x"), "of all that match and have one")
	assert.ElementsMatch(t, []int{7}, identifiers("other/x"), "one for all filters of a SUBSCRIBE")
	assert.ElementsMatch(t, []int{7, 128, 268435455}, identifiers("own/y"), "the shared one's as well")
	h.lose(c, 0)
	c = h.join(lasting("c", 5))
	assert.ElementsMatch(t, []int{7, 268435455}, identifiers("own/x"), "3.8.4: they are part of the session")
	h.lose(c, 0)
	h.join(connect{id: "pub"}).publish(1, "own/x", "x")
	c = h.join(lasting("c", 5))
	assert.ElementsMatch(t, []int{7, 268435455}, c.message().Properties.SubscriptionIdentifier, "while it waited")
	three := h.join(connect{id: "three"})
	three.subscribe(1, "own/x")
	c.publish(1, "own/x", "x")
	assert.Equal(t, "x", string(three.message().Payload), "3.1.1 has none")
}

func TestNoLocal(t *testing.T) { // MQTT-3.8.3-3
	h := build(t, nil)
	c := h.join(connect{id: "c", version: 5})
	c.subscribeTo(packets.Properties{}, packets.Subscription{Filter: "own/#", Qos: 1, NoLocal: true}, packets.Subscription{Filter: "both/#", Qos: 1, NoLocal: true}, packets.Subscription{Filter: "both/x", Qos: 1})
	for qos := range byte(3) {
		c.publish(qos, "own/x", "x")
	}
	assert.Empty(t, c.messages())
	c.publish(1, "both/x", "x")
	assert.Len(t, c.messages(), 1, "another subscription has it")
	c.publish(1, "both/y", "x")
	assert.Empty(t, c.messages())
	for _, version := range []byte{4, 5} {
		h.join(connect{id: "other", version: version}).publish(1, "own/x", "x")
		assert.Len(t, c.messages(), 1)
	}
}

func TestASharedSubscriptionDeliversToOneOfItsGroup(t *testing.T) { // 4.8.2
	versions(t, func(t *testing.T, version byte) {
		h := build(t, nil)
		pub := h.join(connect{id: "pub", version: version})
		var one, two []*client
		for i := range 3 {
			c := h.join(connect{id: fmt.Sprint("one", i), version: version})
			c.subscribe(1, "$share/one/own/+")
			one = append(one, c)
			c = h.join(connect{id: fmt.Sprint("two", i), version: version})
			c.subscribe(byte(i%2), "$share/two/own/#")
			two = append(two, c)
		}
		normal := h.join(connect{id: "normal", version: version})
		normal.subscribe(1, "own/x", "$share/alone/own/x")
		const n = 30
		for range n {
			pub.publish(1, "own/x", "x")
		}
		for _, group := range [][]*client{one, two} {
			total := 0
			for i, c := range group {
				got := c.all()
				assert.Len(t, got, n/3, "balanced")
				total += len(got)
				if group[0] == two[0] {
					assert.Equal(t, byte(i%2), got[0].FixedHeader.Qos, "MQTT-4.8.2-3: each has its own QoS")
				}
			}
			assert.Equal(t, n, total, "MQTT-4.8.2-4")
		}
		assert.Len(t, normal.messages(), 2*n, "its own subscription and the shared one")

		h.lose(one[0], 7)
		one[1].unsubscribe("$share/one/own/+")
		for range n {
			pub.publish(1, "own/x", "x")
		}
		assert.Len(t, one[2].messages(), n, "whoever is left gets all")
		assert.Empty(t, one[1].messages())
	})
}

// A filter that names a topic beginning with $ matches it, shared or not.
func TestASharedSubscriptionToADollarTopic(t *testing.T) { // MQTT-4.7.2-1, MQTT-4.8.2-1
	versions(t, func(t *testing.T, version byte) {
		c := build(t, nil).join(connect{id: "c", version: version})
		require.Equal(t, []byte{1, 1}, c.subscribe(1, "$own/x", "$share/g/$own/y"))
		c.publish(1, "$own/x", "x")
		c.publish(1, "$own/y", "x")
		assert.Equal(t, []string{"$own/x", "$own/y"}, c.messages())
	})
}

func TestSharedWildcardsDoNotMatchDollarTopics(t *testing.T) { // MQTT-4.7.2-1
	versions(t, func(t *testing.T, version byte) {
		c := build(t, nil).join(connect{id: "c", version: version})
		c.subscribe(1, "$share/g/#", "$share/h/+/x", "$share/i/own/x")
		c.publish(1, "$own/x", "x")
		assert.Empty(t, c.messages())
		c.publish(1, "own/x", "x")
		assert.Len(t, c.messages(), 3)
	})
}
