package mqtt_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/mqtt"
)

func (h *house) greet(version byte, b []byte) (*client, packets.Packet, bool) {
	h.t.Helper()
	c, _ := h.plain()
	c.version = min(version, 5)
	c.raw(b)
	pk, ok := c.answer()
	return c, pk, ok
}

func TestConnackCarriesWhatDiffersFromTheDefault(t *testing.T) {
	t.Parallel()
	h := build(t, func(o *mqtt.Options) { o.MaxPacketBytes = 2000 })
	_, ack := h.dial(connect{id: "c", version: 5})
	p := ack.Properties
	assert.NotZero(t, p.ReceiveMaximum)
	assert.NotZero(t, p.TopicAliasMaximum)
	assert.GreaterOrEqual(t, p.MaximumPacketSize, uint32(2000), "3.2.2.3.6")
	assert.False(t, p.MaximumQosFlag, "3.2.2.3.4: absent, QoS 2 is accepted")
	assert.False(t, p.RetainAvailableFlag || p.WildcardSubAvailableFlag || p.SubIDAvailableFlag || p.SharedSubAvailableFlag)
	assert.False(t, p.SessionExpiryIntervalFlag, "3.2.2.3.2: as the client asked")
	assert.False(t, p.ServerKeepAliveFlag, "MQTT-3.2.2-22")
	assert.Empty(t, p.AssignedClientID, "MQTT-3.2.2-16")
	assert.Empty(t, p.ResponseInfo, "MQTT-3.1.2-28: nobody asked")
	assert.Empty(t, p.AuthenticationMethod, "MQTT-4.12.0-6")
	assert.Empty(t, p.ReasonString)
}

func TestQoS2PublishesAreAccepted(t *testing.T) { // 3.2.2.3.4: CONNACK sets no maximum
	versions(t, func(t *testing.T, version byte) {
		h := build(t, nil)
		assert.Zero(t, h.join(connect{id: "c", version: version}).publish(2, "own/x", "x"))
	})
}

func TestClientIdentifiers(t *testing.T) {
	t.Parallel()
	versions(t, func(t *testing.T, version byte) {
		h := build(t, nil)
		t.Run("MQTT-3.1.3-5: 1 to 23 letters and digits", func(t *testing.T) {
			for _, id := range []string{"a", "0123456789abcdefghijABC", "ZYXWVUTSRQPONMLKJIHGFED"} {
				h.join(connect{id: id, version: version}).ping()
			}
		})
		t.Run("MQTT-3.1.3-6: none, with a clean session", func(t *testing.T) {
			a, first := h.dial(connect{version: version})
			b, second := h.dial(connect{version: version})
			assert.False(t, first.SessionPresent || second.SessionPresent)
			a.subscribe(1, "own/x")
			b.publish(1, "own/x", "x")
			assert.Equal(t, []string{"own/x"}, a.messages(), "MQTT-3.2.2-16: two clients are not one")
			if version == 5 {
				assert.NotEmpty(t, first.Properties.AssignedClientID)
				assert.NotEqual(t, first.Properties.AssignedClientID, second.Properties.AssignedClientID)
			}
		})
	})
	t.Run("3.1.1 MQTT-3.1.3-8: none, without a clean session", func(t *testing.T) {
		c, ack := build(t, nil).dial(connect{dirty: true})
		assert.Equal(t, byte(2), ack.ReasonCode)
		c.ended()
	})
	t.Run("MQTT-3.1.3-7: an assigned one can be come back with", func(t *testing.T) {
		h := build(t, nil)
		c, ack := h.dial(connect{version: 5, dirty: true, props: expiry(100)})
		assert.False(t, ack.SessionPresent)
		h.lose(c, 0)
		_, again := h.dial(lasting(ack.Properties.AssignedClientID, 5))
		assert.True(t, again.SessionPresent)
		assert.Empty(t, again.Properties.AssignedClientID)
	})
}

func TestAWrongPasswordIsAnsweredAndEndsTheConnection(t *testing.T) { // MQTT-3.1.4-2, MQTT-3.2.2-7
	versions(t, func(t *testing.T, version byte) {
		h := build(t, nil)
		h.join(lasting("c", version)).nc.Close() // has a session, which the wrong password must not reach
		c, ack := h.dial(connect{id: "c", version: version, dirty: true, password: "wrong"})
		assert.Equal(t, map[byte]byte{4: 4, 5: 0x86}[version], ack.ReasonCode)
		assert.False(t, ack.SessionPresent, "MQTT-3.2.2-6")
		c.ended()
	})
}

func TestNothingAfterARefusedConnectIsExecuted(t *testing.T) { // MQTT-3.1.4-6
	versions(t, func(t *testing.T, version byte) {
		h := build(t, nil)
		spy := h.join(connect{id: "spy"})
		spy.subscribe(1, "own/#")
		bad := hello(version, flagClean|flagUser|flagPassword, "c", props(version), text("u"), text("wrong"))
		c, ack, ok := h.greet(version, append(bad, frame(0x30, text("own/x"), props(version), []byte("x"))...))
		require.True(t, ok)
		assert.NotZero(t, ack.ReasonCode)
		_, _ = c.answer()
		h.left(1)
		assert.Empty(t, spy.messages())
	})
}

// MQTT 5, 3.1.4: clients need not wait for CONNACK.
func TestAClientMaySendBeforeConnack(t *testing.T) {
	t.Parallel()
	versions(t, func(t *testing.T, version byte) {
		h := build(t, nil)
		c, _ := h.plain()
		c.version = version
		b := hello(version, flagClean|flagUser|flagPassword, "c", props(version), text("u"), text(key))
		b = append(b, frame(0x82, u16(1), props(version), text("own/x"), []byte{1})...)
		b = append(b, frame(0x32, text("own/x"), u16(2), props(version), []byte("early"))...)
		c.raw(b)
		assert.Zero(t, c.read(packets.Connack).ReasonCode)
		assert.Empty(t, c.early, "MQTT-3.2.0-1: CONNACK is first")
		c.read(packets.Suback)
		c.read(packets.Puback)
		assert.Equal(t, "early", string(c.message().Payload))
	})
}

func TestAnUnsupportedVersionIsAnswered(t *testing.T) { // MQTT-3.1.2-2
	h := build(t, nil)
	c, ack, ok := h.greet(3, hello(3, flagClean, "c", nil))
	require.True(t, ok)
	assert.Equal(t, byte(1), ack.ReasonCode, "MQTT at level 3 is no version")
	c.ended()
	c, ack, ok = h.greet(6, hello(6, flagClean, "c", props(5)))
	require.True(t, ok)
	assert.Equal(t, byte(0x84), ack.ReasonCode)
	c.ended()
}

// A CONNECT that does not conform ends the connection: in 3.1.1 without a CONNACK (3.1.1
// MQTT-3.1.4-1), in 5 without one or with a reason of 0x80 or more (MQTT-3.1.4-1).
func TestAConnectThatDoesNotConform(t *testing.T) {
	t.Parallel()
	user, pass := text("u"), text(key)
	const both = flagClean | flagUser | flagPassword
	type test struct {
		name    string
		version byte // 0: both
		reason  byte // 0: any error
		make    func(v byte) []byte
	}
	property := func(reason byte, name string, p ...[]byte) test {
		return test{name, 5, reason, func(v byte) []byte { return hello(v, both, "c", props(v, p...), user, pass) }}
	}
	for _, x := range []test{
		{"MQTT-3.1.2-3: reserved flag", 0, 0, func(v byte) []byte { return hello(v, both|1, "c", props(v), user, pass) }},
		{"MQTT-3.1.2-11: will QoS without a will", 0, 0, func(v byte) []byte { return hello(v, both|0x08, "c", props(v), user, pass) }},
		{"MQTT-3.1.2-12: will QoS 3", 0, 0, func(v byte) []byte {
			return hello(v, both|flagWill|0x18, "c", props(v), props(v), text("own/w"), text("x"), user, pass)
		}},
		{"MQTT-3.1.2-13: will retain without a will", 0, 0, func(v byte) []byte { return hello(v, both|flagRetain, "c", props(v), user, pass) }},
		{"MQTT-3.1.2-9: a will without its fields", 0, 0, func(v byte) []byte { return hello(v, flagClean|flagWill, "c", props(v)) }},
		{"MQTT-3.1.2-17: a user name flag without a user name", 0, 0, func(v byte) []byte { return hello(v, flagClean|flagUser, "c", props(v)) }},
		{"MQTT-3.1.2-19: a password flag without a password", 0, 0, func(v byte) []byte { return hello(v, both, "c", props(v), user) }},
		{"MQTT-1.5.4-1: a client id that is not UTF-8", 0, 0, func(v byte) []byte { return hello(v, both, "\xc3\x28", props(v), user, pass) }},
		{"MQTT-1.5.4-2: a client id with U+0000", 0, 0, func(v byte) []byte { return hello(v, both, "a\x00b", props(v), user, pass) }},
		{"MQTT-3.1.3-12: a user name that is not UTF-8", 0, 0, func(v byte) []byte { return hello(v, both, "c", props(v), text("\xc3\x28"), pass) }},
		property(0x82, "3.1.2.11.2: session expiry twice", prop(17, u32(5)...), prop(17, u32(5)...)),
		property(0x82, "3.1.2.11.3: receive maximum of 0", prop(33, 0, 0)),
		property(0x82, "3.1.2.11.3: receive maximum twice", prop(33, 0, 9), prop(33, 0, 9)),
		property(0x82, "3.1.2.11.4: maximum packet size of 0", prop(39, u32(0)...)),
		property(0x82, "3.1.2.11.6: request response information of 2", prop(25, 2)),
		property(0x82, "3.1.2.11.7: request problem information of 2", prop(23, 2)),
		property(0x82, "3.1.2.11.10: authentication data without a method", prop(22, text("x")...)),
		property(0x81, "2.2.2.2: a property that is not CONNECT's", prop(35, 0, 1)),
		property(0x81, "2.2.2.2: an unknown property", prop(99, 0)),
		property(0x8c, "MQTT-4.12.0-1: an authentication method", prop(21, text("x")...)),
	} {
		t.Run(x.name, func(t *testing.T) {
			versions(t, func(t *testing.T, version byte) {
				if x.version != 0 && x.version != version {
					return
				}
				c, ack, answered := build(t, nil).greet(version, x.make(version))
				if !answered {
					return // closed
				}
				require.Equal(t, packets.Connack, ack.FixedHeader.Type, "MQTT-3.14.0-1: no DISCONNECT before CONNACK")
				require.Equal(t, byte(5), version, "3.1.1 has no answer to this, but got code %d", ack.ReasonCode)
				if x.reason != 0 {
					require.Equal(t, x.reason, ack.ReasonCode)
				}
				require.GreaterOrEqual(t, ack.ReasonCode, byte(0x80))
				c.ended()
			})
		})
	}
}

func TestAPasswordNeedsNoUserNameInMQTT5(t *testing.T) { // 3.1.2.9
	_, ack, ok := build(t, nil).greet(5, hello(5, flagClean|flagPassword, "c", props(5), text(key)))
	require.True(t, ok)
	assert.Zero(t, ack.ReasonCode)
}

func TestAWillTopicMustBeATopicName(t *testing.T) { // MQTT-3.1.3-11, MQTT-4.7.0-1
	versions(t, func(t *testing.T, version byte) {
		h := build(t, nil)
		for _, topic := range []string{"own/#", "+", "\xc3\x28", "a\x00b", ""} {
			_, ack, ok := h.greet(version, hello(version, flagClean|flagWill|flagUser|flagPassword, "c", props(version),
				props(version), text(topic), text("x"), text("u"), text(key)))
			assert.True(t, !ok || ack.ReasonCode != 0, "%q", topic)
		}
	})
}

func TestReasonStringsAreLeftOutForThoseWhoDoNotWantThem(t *testing.T) { // MQTT-3.1.2-29
	h := build(t, nil)
	c := h.join(connect{id: "c", version: 5, props: packets.Properties{RequestProblemInfoFlag: true}})
	c.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Subscribe, Qos: 1}, PacketID: 1, Filters: packets.Subscriptions{{Filter: "a#"}}})
	ack := c.read(packets.Suback)
	assert.Equal(t, []byte{0x8f}, ack.ReasonCodes)
	assert.Empty(t, ack.Properties.ReasonString)
	c.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: 1}, PacketID: 2, TopicName: "$SYS/x"})
	ack = c.read(packets.Puback)
	assert.GreaterOrEqual(t, ack.ReasonCode, byte(0x80))
	assert.Empty(t, ack.Properties.ReasonString)
}

// MQTT-3.1.2-24: answers keep to the client's Maximum Packet Size too.
func TestAnswersKeepToTheMaximumPacketSize(t *testing.T) {
	t.Parallel()
	h := build(t, nil)
	c := h.join(connect{id: "c", version: 5, props: packets.Properties{MaximumPacketSize: 40}})
	c.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Subscribe, Qos: 1}, PacketID: 1,
		Filters: packets.Subscriptions{{Filter: strings.Repeat("a", 40) + "#"}}})
	ack := c.read(packets.Suback)
	assert.Equal(t, []byte{0x8f}, ack.ReasonCodes)
	assert.LessOrEqual(t, ack.FixedHeader.Remaining, 38)
}

func TestTheServersKeepAlive(t *testing.T) { // MQTT-3.1.2-21, MQTT-3.2.2-21 and -22
	t.Parallel()
	h := build(t, func(o *mqtt.Options) { o.MaxKeepAlive = time.Second })
	for asked, told := range map[uint16]uint16{0: 1, 2: 1, 1: 0} {
		t.Run(fmt.Sprint(asked), func(t *testing.T) {
			t.Parallel()
			start := time.Now()
			c, ack := h.dial(connect{id: fmt.Sprint("c", asked), version: 5, keep: asked})
			assert.Equal(t, told > 0, ack.Properties.ServerKeepAliveFlag)
			assert.Equal(t, told, ack.Properties.ServerKeepAlive)
			assert.Equal(t, packets.ErrKeepAliveTimeout.Code, c.ended())
			assert.InDelta(t, 2, time.Since(start).Seconds(), 0.9, "one and a half, and not three")
		})
	}
}

// A bridge of another broker sets the highest bit of the protocol level, as mosquitto does by
// default. It does not get its own messages back, and gets the retain flag as published.
func TestABridgeHearsNoEcho(t *testing.T) {
	t.Parallel()
	h := build(t, nil)
	c, _ := h.plain()
	c.version = 4
	hello := []byte{0x10, 0, 0, 4, 'M', 'Q', 'T', 'T', 0x84, 0xc2, 0, 60, 0, 1, 'b', 0, 1, 'u', 0, byte(len(key))}
	hello = append(hello, key...)
	hello[1] = byte(len(hello) - 2)
	c.raw(hello)
	require.Zero(t, c.read(packets.Connack).ReasonCode)
	require.Equal(t, []byte{1}, c.subscribe(1, "home/#"))
	require.Equal(t, byte(0), c.publish(1, "home/mine", "x"))
	other := h.join(connect{id: "other"})
	other.publishPacket(packets.Packet{FixedHeader: packets.FixedHeader{Qos: 1, Retain: true}, TopicName: "home/theirs", Payload: []byte("y")})
	got := c.message()
	assert.Equal(t, "home/theirs", got.TopicName)
	assert.True(t, got.FixedHeader.Retain)
	require.Equal(t, []byte{1}, c.subscribe(1, "$share/g/shared"), "which cannot be without an echo")
	require.Equal(t, byte(0), c.publish(1, "shared", "x"))
	assert.Equal(t, "shared", c.message().TopicName)
	_, ack, ok := h.greet(4, []byte{0x10, 13, 0, 4, 'M', 'Q', 'T', 'T', 0x86, 2, 0, 0, 0, 1, 'b'})
	require.True(t, ok)
	assert.NotZero(t, ack.ReasonCode, "of no version that there is")
}
