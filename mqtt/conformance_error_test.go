package mqtt_test

import (
	"slices"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// MQTT-4.13.1-1, MQTT-4.13.2-1, 3.1.1 MQTT-4.8.0-1: only this connection ends; in MQTT 5 with
// the reason of the specification.
func TestAProtocolErrorEndsItsConnectionAlone(t *testing.T) {
	t.Parallel()
	malformed, protocol, either := []byte{0x81}, []byte{0x82}, []byte{0x81, 0x82}
	type test struct {
		name    string
		version byte // 0: both
		reasons []byte
		make    func(v byte) []byte
	}
	wire := func(name string, reasons []byte, b ...byte) test {
		return test{name, 0, reasons, func(byte) []byte { return b }}
	}
	publish := func(name string, version byte, reasons []byte, first byte, topic string, parts ...[]byte) test {
		return test{name, version, reasons, func(v byte) []byte { return frame(first, slices.Insert(parts, 0, text(topic))...) }}
	}
	carrying := func(name string, reasons []byte, p ...[]byte) test {
		return publish(name, 5, reasons, 0x30, "own/x", props(5, p...), []byte("x"))
	}
	subscribe := func(name string, version byte, reasons []byte, first byte, id uint16, properties []byte, filters ...[]byte) test {
		return test{name, version, reasons, func(v byte) []byte {
			return frame(first, slices.Insert(filters, 0, u16(id), props(v, properties))...)
		}}
	}
	one := append(text("own/x"), 1)
	for _, x := range []test{
		{"MQTT-3.1.0-2: a second CONNECT", 0, protocol, func(v byte) []byte {
			return hello(v, flagClean|flagUser|flagPassword, "bad", props(v), text("u"), text(key))
		}},
		wire("table 2.1: CONNACK from a client", either, 0x20, 2, 0, 0),
		wire("table 2.1: SUBACK from a client", either, 0x90, 3, 0, 1, 0),
		wire("table 2.1: UNSUBACK from a client", either, 0xb0, 2, 0, 1),
		wire("table 2.1: PINGRESP from a client", either, 0xd0, 0),
		wire("table 2.1: type 0", either, 0, 0),
		{"3.1.1 table 2.1: type 15", 4, nil, func(byte) []byte { return []byte{0xf0, 0} }},
		{"MQTT-4.12.0-7: AUTH without a method", 5, protocol, func(byte) []byte { return []byte{0xf0, 2, 0x18, 0} }},
		{"MQTT-4.12.0-7: AUTH without anything", 5, protocol, func(byte) []byte { return []byte{0xf0, 0} }},

		wire("MQTT-1.5.5: a remaining length of five bytes", malformed, 0x30, 0x80, 0x80, 0x80, 0x80, 1),
		wire("MQTT-2.1.3-1: PINGREQ with flags", malformed, 0xc1, 0),
		wire("MQTT-3.14.1-1: DISCONNECT with flags", malformed, 0xe2, 0),
		wire("MQTT-2.1.3-1: PUBACK with flags", malformed, 0x42, 2, 0, 1),
		wire("MQTT-3.6.1-1: PUBREL with flags 0", malformed, 0x60, 2, 0, 1),
		wire("PUBREL that is cut off", malformed, 0x62, 1, 0),
		subscribe("MQTT-3.8.1-1: SUBSCRIBE with flags 0", 0, malformed, 0x80, 1, nil, one),
		subscribe("MQTT-3.10.1-1: UNSUBSCRIBE with flags 0", 0, malformed, 0xa0, 1, nil, text("own/x")),

		{"MQTT-2.2.1-3: PUBLISH with packet id 0", 0, either, func(v byte) []byte { return frame(0x32, text("own/x"), u16(0), props(v)) }},
		{"MQTT-3.3.1-4: PUBLISH at QoS 3", 0, malformed, func(v byte) []byte { return frame(0x36, text("own/x"), u16(1), props(v)) }},
		{"MQTT-3.3.1-2: PUBLISH at QoS 0 with DUP", 0, either, func(v byte) []byte { return frame(0x38, text("own/x"), props(v)) }},
		{"MQTT-3.3.2-2: PUBLISH to +", 0, []byte{0x81, 0x82, 0x90}, func(v byte) []byte { return frame(0x30, text("own/+"), props(v)) }},
		{"MQTT-3.3.2-2: PUBLISH to #", 0, []byte{0x81, 0x82, 0x90}, func(v byte) []byte { return frame(0x30, text("own/#"), props(v)) }},
		{"MQTT-4.7.3-1: PUBLISH without a topic", 0, protocol, func(v byte) []byte { return frame(0x30, text(""), props(v), []byte("x")) }},
		{"MQTT-1.5.4-1: PUBLISH to what is not UTF-8", 0, malformed, func(v byte) []byte { return frame(0x30, text("own/\xc3\x28"), props(v)) }},
		{"MQTT-1.5.4-1: PUBLISH to a surrogate", 0, malformed, func(v byte) []byte { return frame(0x30, text("own/\xed\xa0\x80"), props(v)) }},
		{"MQTT-4.7.3-2: PUBLISH to U+0000", 0, malformed, func(v byte) []byte { return frame(0x30, text("own/\x00x"), props(v)) }},
		{"a topic longer than its packet", 0, malformed, func(byte) []byte { return []byte{0x30, 5, 0, 9, 'o', 'w', 'n'} }},
		{"an empty PUBLISH", 0, malformed, func(byte) []byte { return []byte{0x30, 0} }},

		subscribe("MQTT-3.8.3-2: SUBSCRIBE without filters", 0, protocol, 0x82, 1, nil),
		subscribe("MQTT-3.10.3-2: UNSUBSCRIBE without filters", 0, protocol, 0xa2, 1, nil),
		subscribe("MQTT-2.2.1-3: SUBSCRIBE with packet id 0", 0, either, 0x82, 0, nil, one),
		subscribe("MQTT-2.2.1-3: UNSUBSCRIBE with packet id 0", 0, either, 0xa2, 0, nil, text("own/x")),
		subscribe("3.8.3.1: SUBSCRIBE at QoS 3", 0, either, 0x82, 1, nil, append(text("own/x"), 3)),
		subscribe("MQTT-3.8.3-5: SUBSCRIBE with reserved bits", 0, malformed, 0x82, 1, nil, append(text("own/x"), 0x41)),
		subscribe("MQTT-3.8.3-5: SUBSCRIBE with the other reserved bit", 0, malformed, 0x82, 1, nil, append(text("own/x"), 0x81)),
		subscribe("3.1.1 MQTT-3-8.3-4: SUBSCRIBE with what are options in 5", 4, nil, 0x82, 1, nil, append(text("own/x"), 5)),
		subscribe("3.8.3.1: retain handling 3", 5, protocol, 0x82, 1, nil, append(text("own/x"), 0x31)),
		subscribe("MQTT-3.8.3-4: No Local on a shared filter", 5, protocol, 0x82, 1, nil, append(text("$share/g/own/x"), 5)),
		subscribe("SUBSCRIBE without options", 0, malformed, 0x82, 1, nil, text("own/x")),
		subscribe("MQTT-1.5.4-1: a filter that is not UTF-8", 0, malformed, 0x82, 1, nil, append(text("\xff"), 1)),
		subscribe("MQTT-4.7.3-2: a filter with U+0000", 0, malformed, 0x82, 1, nil, append(text("a\x00"), 1)),
		subscribe("3.8.2.1.2: a subscription identifier of 0", 5, protocol, 0x82, 1, prop(11, 0), one),
		subscribe("3.8.2.1.2: two subscription identifiers", 5, protocol, 0x82, 1, prop(11, 1, 11, 2), one),
		subscribe("2.2.2.2: a property that is not SUBSCRIBE's", 5, malformed, 0x82, 1, prop(1, 1), one),

		carrying("MQTT-3.3.4-6: a subscription identifier from a client", protocol, prop(11, 1)),
		carrying("3.3.2.3.2: payload format twice", protocol, prop(1, 1), prop(1, 1)),
		carrying("3.3.2.3.3: message expiry twice", protocol, prop(2, u32(9)...), prop(2, u32(9)...)),
		carrying("3.3.2.3.4: topic alias twice", protocol, prop(35, 0, 1), prop(35, 0, 1)),
		carrying("3.3.2.3.5: response topic twice", protocol, prop(8, text("a")...), prop(8, text("a")...)),
		carrying("3.3.2.3.6: correlation data twice", protocol, prop(9, text("a")...), prop(9, text("a")...)),
		carrying("3.3.2.3.9: content type twice", protocol, prop(3, text("a")...), prop(3, text("a")...)),
		carrying("2.2.2.2: a property that is not PUBLISH's", malformed, prop(17, u32(9)...)),
		carrying("2.2.2.2: an unknown property", malformed, prop(77, 0)),
		carrying("MQTT-3.3.2-13: a response topic that is not UTF-8", malformed, prop(8, text("\xff")...)),
		carrying("MQTT-3.3.2-14: a response topic with a wildcard", []byte{0x81, 0x82, 0x90}, prop(8, text("a/#")...)),
		carrying("MQTT-3.3.2-19: a content type that is not UTF-8", malformed, prop(3, text("\xff")...)),
		carrying("MQTT-1.5.7-1: a user property that is not UTF-8", malformed, prop(38, append(text("k"), text("\xff")...)...)),
		publish("properties longer than their packet", 5, malformed, 0x30, "own/x", []byte{50, 1, 1}),
		publish("properties that are cut off", 5, malformed, 0x30, "own/x", []byte{3, 2, 0, 0}, []byte("payload")),
		{"3.14.2.2.2: session expiry twice", 5, protocol, func(byte) []byte {
			return frame(0xe0, []byte{0}, props(5, prop(17, u32(9)...), prop(17, u32(9)...)))
		}},
	} {
		t.Run(x.name, func(t *testing.T) {
			versions(t, func(t *testing.T, version byte) {
				if x.version != 0 && x.version != version {
					return
				}
				h := build(t, nil)
				good := h.join(connect{id: "good", version: version})
				good.subscribe(1, "own/#")
				bad := h.join(lasting("bad", version))
				bad.raw(x.make(version))
				// What is behind the error is not executed.
				bad.raw(frame(0x30, text("own/x"), props(version), []byte("behind")))
				bad.nc.(interface{ CloseWrite() error }).CloseWrite()
				reason := bad.ended()
				if version == 5 {
					assert.Contains(t, x.reasons, reason, "DISCONNECT with %#02x", reason)
				}
				h.left(1)
				good.publish(1, "own/good", "x")
				assert.Equal(t, []string{"own/good"}, good.messages())
			})
		})
	}
}

// MQTT-3.1.0-1, MQTT-3.14.0-1: nothing is answered before a CONNECT.
func TestTheFirstPacketIsConnect(t *testing.T) {
	t.Parallel()
	for name, b := range map[string][]byte{
		"PUBLISH": frame(0x30, text("own/x"), []byte("x")), "SUBSCRIBE": frame(0x82, u16(1), append(text("own/x"), 1)),
		"PINGREQ": {0xc0, 0}, "DISCONNECT": {0xe0, 0}, "PUBREL": {0x62, 2, 0, 1}, "AUTH": {0xf0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			h := build(t, nil)
			spy := h.join(connect{id: "spy"})
			spy.subscribe(1, "own/#")
			c, _ := h.plain()
			c.raw(b)
			pk, ok := c.answer()
			require.False(t, ok, "answered with %s", packets.PacketNames[pk.FixedHeader.Type])
			h.left(1)
			assert.Empty(t, spy.messages())
		})
	}
}

// 4.13.1, MQTT-4.1.0-1: an error ends the connection, not the session.
func TestASessionSurvivesAProtocolError(t *testing.T) {
	t.Parallel()
	versions(t, func(t *testing.T, version byte) {
		h := build(t, nil)
		c := h.join(lasting("c", version))
		c.subscribe(1, "own/x")
		c.raw([]byte{0xc1, 0})
		c.ended()
		h.left(0)
		h.join(connect{id: "pub"}).publish(1, "own/x", "waits")
		assert.True(t, h.present(lasting("c", version)))
		assert.Equal(t, []string{"waits"}, h.join(lasting("c", version)).bodies())
	})
}

// 4.3.2, 4.3.3: an acknowledgement of an unknown id, in any form, does not end the connection.
func TestAcknowledgementsOfNothingDoNoHarm(t *testing.T) {
	t.Parallel()
	versions(t, func(t *testing.T, version byte) {
		h := build(t, nil)
		c := h.join(connect{id: "c", version: version})
		for _, b := range [][]byte{{0x40, 2, 0, 9}, {0x40, 3, 0, 9, 0}, {0x40, 4, 0, 9, 0x80, 0}} {
			if version == 4 && b[1] > 2 {
				continue
			}
			c.raw(b)
			c.ping()
		}
		c.subscribe(1, "own/x")
		c.publish(1, "own/x", "x")
		assert.Equal(t, []string{"x"}, c.bodies())
	})
}
