package mqtt_test

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
	"watchtower/mqtt"
)

func TestTheLowerQoSIsDelivered(t *testing.T) { // MQTT-3.8.4-8, 3.1.1 MQTT-3.8.4-6
	versions(t, func(t *testing.T, version byte) {
		h := build(t, nil)
		pub := h.join(connect{id: "pub", version: version})
		for asked := range byte(3) {
			sub := h.join(connect{id: "sub", version: version})
			granted := sub.subscribe(asked, "own/x")[0]
			require.Equal(t, asked, granted)
			for qos := range byte(3) {
				require.Zero(t, pub.publish(qos, "own/x", fmt.Sprint(qos)))
				pk := sub.message()
				assert.Equal(t, fmt.Sprint(qos), string(pk.Payload))
				assert.Equal(t, min(qos, granted), pk.FixedHeader.Qos, "published at %d, granted %d", qos, granted)
				assert.Equal(t, pk.FixedHeader.Qos > 0, pk.PacketID > 0, "MQTT-2.2.1-2 and -4")
				assert.False(t, pk.FixedHeader.Dup, "MQTT-3.3.1-2, MQTT-4.3.1-1")
			}
			assert.Empty(t, sub.messages())
		}
	})
}

// MQTT-4.3.3-10: until PUBREL it is the same message, and is delivered once.
func TestQoS2DeliversOnce(t *testing.T) {
	t.Parallel()
	versions(t, func(t *testing.T, version byte) {
		h := build(t, nil)
		sub := h.join(connect{id: "sub", version: version})
		sub.subscribe(2, "own/x")
		c := h.join(connect{id: "c", version: version})
		send := func(id uint16, dup bool) {
			c.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: 2, Dup: dup}, PacketID: id, TopicName: "own/x", Payload: []byte(fmt.Sprint(id))})
			rec := c.read(packets.Pubrec)
			assert.Equal(t, id, rec.PacketID, "MQTT-4.3.3-8")
			assert.Zero(t, rec.ReasonCode)
		}
		for range 2 { // an id is free again after PUBCOMP
			send(1, false)
			send(2, false)
			send(1, true)
			send(2, true)
			for _, id := range []uint16{2, 1} {
				c.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Pubrel, Qos: 1}, PacketID: id})
				assert.Equal(t, id, c.read(packets.Pubcomp).PacketID, "MQTT-4.3.3-11")
			}
			assert.Equal(t, []string{"1", "2"}, sub.bodies())
		}
	})
}

// MQTT-3.3.2-4, -15, -16, -17, -18 and -20, MQTT-3.1.3-10.
func TestPropertiesAreForwardedUnaltered(t *testing.T) {
	t.Parallel()
	h := build(t, nil)
	sub, pub := h.join(connect{id: "sub", version: 5}), h.join(connect{id: "pub", version: 5})
	three := h.join(connect{id: "three"})
	sub.subscribe(2, "own/x")
	three.subscribe(2, "own/x")
	binary := make([]byte, 256)
	for i := range binary {
		binary[i] = byte(i)
	}
	for name, want := range map[string]packets.Properties{
		"none":                {},
		"request":             {ResponseTopic: "answer/to/日本", CorrelationData: binary},
		"bytes":               {PayloadFormatFlag: true},
		"text":                {PayloadFormatFlag: true, PayloadFormat: 1, ContentType: "text/plain; charset=utf-8"},
		"user properties":     {User: []packets.UserProperty{{Key: "b", Val: "1"}, {Key: "a", Val: ""}, {Key: "b", Val: "0"}, {Key: "", Val: "x"}, {Key: "sender", Val: "mine"}}},
		"expiry, and a topic": {MessageExpiryInterval: 0xffffffff, ResponseTopic: "x"},
	} {
		for qos := range byte(3) {
			require.Zero(t, pub.publishPacket(packets.Packet{FixedHeader: packets.FixedHeader{Qos: qos}, TopicName: "own/x", Payload: []byte{0xff, 0}, Properties: want}))
			got := sub.message()
			got.Properties.MessageExpiryInterval = want.MessageExpiryInterval // another test's
			assert.Equal(t, want, got.Properties, name)
			assert.Equal(t, []byte{0xff, 0}, got.Payload)
			assert.Equal(t, []byte{0xff, 0}, three.message().Payload)
		}
	}
}

func TestAMessageExpires(t *testing.T) { // MQTT-3.3.2-5 and -6
	versions(t, func(t *testing.T, version byte) {
		var k clock
		h := build(t, k.use)
		sub := h.join(lasting("sub", version))
		sub.subscribe(1, "own/x")
		h.lose(sub, 0)
		pub := h.join(connect{id: "pub", version: 5})
		for _, seconds := range []uint32{0, 10, 100} {
			pub.publishPacket(packets.Packet{FixedHeader: packets.FixedHeader{Qos: 1}, TopicName: "own/x", Payload: []byte(fmt.Sprint(seconds)),
				Properties: packets.Properties{MessageExpiryInterval: seconds}})
		}
		k.pass(40 * time.Second)
		sub = h.join(lasting("sub", version))
		never, later := sub.message(), sub.message()
		assert.Empty(t, sub.messages())
		assert.Equal(t, "0", string(never.Payload), "without an interval")
		assert.Equal(t, "100", string(later.Payload))
		assert.Equal(t, 1, h.dropped(bridge.Expired))
		if version == 5 {
			assert.Zero(t, never.Properties.MessageExpiryInterval)
			assert.InDelta(t, 60, later.Properties.MessageExpiryInterval, 5)
		}
		pub.publishPacket(packets.Packet{FixedHeader: packets.FixedHeader{Qos: 1}, TopicName: "own/x", Properties: packets.Properties{MessageExpiryInterval: 100}})
		if version == 5 {
			assert.InDelta(t, 99, sub.message().Properties.MessageExpiryInterval, 1, "at once")
		}
	})
}

// The time to live of another protocol's message is its message expiry here.
func TestATimeToLiveIsAMessageExpiry(t *testing.T) {
	t.Parallel()
	h := build(t, nil)
	sub := h.join(connect{id: "sub", version: 5})
	sub.subscribe(1, "watchtower/channels/5/#")
	web := h.web("web")
	require.NoError(t, h.hub.Attach(web, 5, &bridge.Attachment{Via: viaHTTP, Broadcasts: true}))
	for range 10 { // at any part of a second
		for _, ttl := range []uint32{1, 60, 3600} {
			_, err := h.hub.Publish(web, bridge.Publication{Channels: []bridge.Channel{5}, Via: viaHTTP, TTL: time.Duration(ttl) * time.Second})
			require.NoError(t, err)
			got := sub.message().Properties.MessageExpiryInterval
			assert.LessOrEqual(t, got, ttl)
			assert.GreaterOrEqual(t, got, max(1, ttl-1))
		}
		time.Sleep(70 * time.Millisecond)
	}
}

func TestTopicAliases(t *testing.T) { // MQTT-3.3.2-7 to -12, MQTT-3.1.2-26 and -27
	h := build(t, nil)
	sub := h.join(connect{id: "sub", version: 5})
	sub.subscribe(1, "own/#")
	three := h.join(connect{id: "three"})
	three.subscribe(1, "own/#")
	c, ack := h.dial(lasting("c", 5))
	most := ack.Properties.TopicAliasMaximum
	require.NotZero(t, most)
	publish := func(topic string, alias uint16) {
		c.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: 1}, PacketID: c.id(), TopicName: topic,
			Properties: packets.Properties{TopicAlias: alias, TopicAliasFlag: true}})
	}
	for _, alias := range []uint16{1, most} {
		publish("own/a", alias)
		publish("", alias)
		publish("own/b", alias) // maps the alias to another topic
		publish("", alias)
	}
	publish("", 1)
	want := []string{"own/a", "own/a", "own/b", "own/b", "own/a", "own/a", "own/b", "own/b", "own/b"}
	for range want {
		assert.Zero(t, c.read(packets.Puback).ReasonCode)
	}
	assert.Equal(t, want, three.messages())
	for _, pk := range sub.all() {
		assert.Equal(t, want[0], pk.TopicName, "MQTT-3.1.2-27: none towards who did not ask for them")
		assert.False(t, pk.Properties.TopicAliasFlag)
		want = want[1:]
	}
	other := h.join(connect{id: "other", version: 5})
	other.raw(frame(0x30, text(""), props(5, prop(35, 0, 1))))
	assert.Equal(t, byte(0x82), other.ended(), "MQTT-3.3.2-7: an alias is its connection's")
	h.lose(c, 2)
	c = h.join(lasting("c", 5))
	publish("", 1)
	assert.Equal(t, byte(0x82), c.ended(), "MQTT-3.3.2-7: it does not survive its connection")
	for _, alias := range []uint16{0, most + 1, 0xffff} {
		c = h.join(lasting("c", 5))
		c.raw(frame(0x30, text("own/a"), props(5, prop(35, u16(alias)...))))
		assert.Equal(t, byte(0x94), c.ended(), "MQTT-3.3.2-8 and -9: %d", alias)
	}
	assert.Empty(t, three.messages())
}

func TestNoMoreInFlightThanTheClientTakes(t *testing.T) { // MQTT-3.3.4-9 and -10, MQTT-4.9.0-1 to -3
	h := build(t, nil)
	for _, most := range []uint16{1, 3} {
		o := lasting("sub", 5)
		o.dirty, o.props.ReceiveMaximum = false, most
		sub := h.join(o)
		sub.subscribe(1, "own/x")
		pub := h.join(connect{id: "pub"})
		for i := range 10 {
			pub.publish(1, "own/x", fmt.Sprint(i))
		}
		n := int(most)
		for sub.ping(); n < 10; n++ {
			sub.ping()
			require.Len(t, sub.early, int(most))
			pk := sub.read(packets.Publish)
			assert.Equal(t, fmt.Sprint(n-int(most)), string(pk.Payload))
			// 3.4.2: all forms of a PUBACK, of success or not, free one.
			short := [][]byte{{0x40, 2}, {0x40, 3}, {0x40, 4}, {0x40, 3}}[n%4]
			tail := [][]byte{nil, {0x10}, {0x80, 0}, {0x97}}[n%4]
			sub.raw(append(append(short, u16(pk.PacketID)...), tail...))
			sub.ping()
		}
		sub.ping()
		assert.Len(t, sub.all(), int(most))
		assert.Empty(t, sub.all())
	}
}

func TestTheServersReceiveMaximum(t *testing.T) { // MQTT-3.3.4-7
	h := build(t, nil)
	c, ack := h.dial(connect{id: "c", version: 5})
	most := ack.Properties.ReceiveMaximum
	require.NotZero(t, most)
	var b bytes.Buffer
	publish := func(id uint16) {
		b.Write(frame(0x34, text("own/x"), u16(id), props(5)))
	}
	for id := range most {
		publish(id + 1)
	}
	publish(1) // the same one again
	c.raw(b.Bytes())
	for range int(most) + 1 {
		require.Zero(t, c.read(packets.Pubrec).ReasonCode)
	}
	c.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Pubrel, Qos: 1}, PacketID: 5})
	c.read(packets.Pubcomp)
	b.Reset()
	publish(5)
	c.raw(b.Bytes())
	assert.Zero(t, c.read(packets.Pubrec).ReasonCode)
	b.Reset()
	publish(most + 1)
	c.raw(b.Bytes())
	assert.Equal(t, byte(0x93), c.ended())
}

func TestAMessageLargerThanTheClientTakes(t *testing.T) { // MQTT-3.1.2-24 and -25
	h := build(t, nil)
	const most = 100
	sub := h.join(connect{id: "sub", version: 5, props: packets.Properties{MaximumPacketSize: most, ReceiveMaximum: 1}})
	sub.subscribe(1, "own/x")
	pub := h.join(connect{id: "pub"})
	head := len(frame(0x32, text("own/x"), u16(1), props(5)))
	for _, n := range []int{most + 1, most, most + 1000, most + 1} {
		pub.publish(1, "own/x", string(make([]byte, n-head)))
	}
	pub.publish(1, "own/x", "small")
	assert.Len(t, sub.message().Payload, most-head, "what fits exactly is sent")
	assert.Equal(t, "small", string(sub.message().Payload), "what does not fit takes no place in flight")
	assert.Empty(t, sub.messages())
	assert.Equal(t, 3, h.dropped(bridge.TooLarge))
}

func TestAPacketLargerThanTheServerTakes(t *testing.T) { // 3.2.2.3.6, MQTT-3.2.2-15
	h := build(t, func(o *mqtt.Options) { o.MaxPacketBytes = 1000 })
	c, ack := h.dial(connect{id: "c", version: 5})
	most := int(ack.Properties.MaximumPacketSize)
	require.NotZero(t, most)
	head := len(frame(0x32, text("own/x"), u16(1), props(5), make([]byte, 200)))
	sized := func(n int) []byte {
		return frame(0x32, text("own/x"), u16(1), props(5), make([]byte, 200+n-head))
	}
	require.Len(t, sized(most), most)
	c.raw(sized(most + 1))
	assert.Equal(t, byte(0x95), c.ended())
	c = h.join(connect{id: "c", version: 5})
	c.raw(sized(most))
	pk, err := c.next()
	require.NoError(t, err)
	assert.Equal(t, packets.Puback, pk.FixedHeader.Type, "one of the size that CONNACK gave is taken: %d", pk.ReasonCode)
}
