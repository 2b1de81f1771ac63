package mqtt_test

import (
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/mqtt"
)

func (h *house) present(o connect) bool {
	h.t.Helper()
	_, ack := h.dial(o)
	require.Zero(h.t, ack.ReasonCode)
	return ack.SessionPresent
}

// MQTT-3.1.2-4, -5 and -6, MQTT-3.2.2-2 and -3.
func TestSessionPresentSaysWhetherASessionGoesOn(t *testing.T) {
	t.Parallel()
	versions(t, func(t *testing.T, version byte) {
		h := build(t, nil)
		keep := lasting("c", version)
		c, ack := h.dial(keep)
		assert.False(t, ack.SessionPresent, "new")
		c.subscribe(1, "own/x")
		h.lose(c, 0)
		c, ack = h.dial(keep)
		assert.True(t, ack.SessionPresent, "after a broken connection")
		c.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Disconnect}})
		h.left(0)
		c, ack = h.dial(keep)
		assert.True(t, ack.SessionPresent, "after goodbye")
		h.lose(c, 0)

		clean := connect{id: "c", version: version}
		c, ack = h.dial(clean)
		assert.False(t, ack.SessionPresent, "a clean start")
		c.publish(1, "own/x", "x")
		assert.Empty(t, c.messages(), "its subscriptions are gone")
		h.lose(c, 0)
		c, ack = h.dial(keep)
		assert.False(t, ack.SessionPresent, "3.1.1 MQTT-3.1.2-6, MQTT 5 3.1.2.11.2: a session that ended with its connection")
		h.lose(c, 0)
	})
	t.Run("5: a clean start begins a session that lasts", func(t *testing.T) {
		h := build(t, nil)
		h.lose(h.join(connect{id: "c", version: 5, props: expiry(100)}), 0)
		assert.True(t, h.present(lasting("c", 5)))
	})
	t.Run("5: without an expiry, or with one of 0, it ends with its connection", func(t *testing.T) {
		for _, p := range []packets.Properties{{}, expiry(0)} {
			h := build(t, nil)
			h.lose(h.join(connect{id: "c", version: 5, dirty: true, props: p}), 0)
			assert.Zero(t, h.broker.Stats().Sessions)
			assert.False(t, h.present(lasting("c", 5)))
		}
	})
}

// A takeover ends the old connection, and with it a session without an expiry (3.1.1
// MQTT-3.1.2-6; MQTT 5 3.1.2.11.2, MQTT-3.1.4-3).
func TestASessionOfOneConnectionIsNotTakenOver(t *testing.T) {
	t.Parallel()
	versions(t, func(t *testing.T, version byte) {
		h := build(t, nil)
		old := h.join(connect{id: "c", version: version})
		old.subscribe(1, "own/x")
		c, ack := h.dial(lasting("c", version))
		assert.False(t, ack.SessionPresent)
		c.publish(1, "own/x", "x")
		assert.Empty(t, c.messages())
	})
}

func TestASessionExpires(t *testing.T) { // 3.1.2.11.2, MQTT-3.1.2-23
	t.Parallel()
	versions(t, func(t *testing.T, version byte) {
		t.Parallel()
		var k clock
		h := build(t, func(o *mqtt.Options) { k.use(o); o.SessionExpiry = time.Hour })
		lasts := map[byte]time.Duration{4: time.Hour, 5: 100 * time.Second}[version]
		h.lose(h.join(lasting("first", version)), 0)
		k.pass(lasts / 2)
		h.lose(h.join(lasting("c", version)), 0)
		k.pass(lasts/2 + time.Second)
		require.Eventually(t, func() bool { return h.broker.Stats().Sessions == 1 }, 5*time.Second, time.Millisecond)
		assert.False(t, h.present(lasting("first", version)))
		assert.True(t, h.present(lasting("c", version)))
	})
}

func TestTheServerSaysThatASessionExpiresSooner(t *testing.T) { // 3.2.2.3.2
	t.Parallel()
	var k clock
	h := build(t, func(o *mqtt.Options) { k.use(o); o.SessionExpiry = time.Minute })
	for asked, told := range map[uint32]uint32{0: 0, 59: 0, 60: 0, 61: 60, 0xffffffff: 60} {
		c, ack := h.dial(connect{id: "c", version: 5, props: expiry(asked)})
		assert.Equal(t, told > 0, ack.Properties.SessionExpiryIntervalFlag, "%d", asked)
		assert.Equal(t, told, ack.Properties.SessionExpiryInterval, "%d", asked)
		h.lose(c, 0)
	}
	h.lose(h.join(connect{id: "forever", version: 5, props: expiry(0xffffffff)}), 0)
	k.pass(62 * time.Second)
	require.Eventually(t, func() bool { return h.broker.Stats().Sessions == 0 }, 5*time.Second, time.Millisecond)
	assert.False(t, h.present(lasting("forever", 5)))
}

func TestDisconnectChangesTheExpiry(t *testing.T) { // 3.14.2.2.2
	t.Parallel()
	goodbye := func(h *house, from, to uint32) *client {
		c := h.join(connect{id: "c", version: 5, dirty: true, props: expiry(from)})
		c.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Disconnect}, Properties: expiry(to)})
		return c
	}
	t.Run("to 0", func(t *testing.T) {
		h := build(t, nil)
		goodbye(h, 100, 0)
		h.left(0)
		assert.Zero(t, h.broker.Stats().Sessions)
		assert.False(t, h.present(lasting("c", 5)))
	})
	t.Run("to longer, and to shorter", func(t *testing.T) {
		var k clock
		h := build(t, k.use)
		h.lose(h.join(connect{id: "swept", version: 5, props: expiry(10)}), 0)
		goodbye(h, 10, 100)
		h.left(0)
		k.pass(50 * time.Second)
		require.Eventually(t, func() bool { return h.broker.Stats().Sessions == 1 }, 5*time.Second, time.Millisecond)
		assert.True(t, h.present(lasting("c", 5)))
		goodbye(h, 100, 10)
		h.left(0)
		k.pass(50 * time.Second)
		require.Eventually(t, func() bool { return h.broker.Stats().Sessions == 0 }, 5*time.Second, time.Millisecond)
	})
	t.Run("without saying so, not at all", func(t *testing.T) { // 3.14.2.2.2
		h := build(t, nil)
		c := h.join(lasting("c", 5))
		c.raw([]byte{0xe0, 0})
		h.left(0)
		assert.True(t, h.present(lasting("c", 5)))
	})
	t.Run("from 0 it is a protocol error", func(t *testing.T) {
		h := build(t, nil)
		assert.Equal(t, byte(0x82), goodbye(h, 0, 5).ended())
		h.left(0)
		assert.Zero(t, h.broker.Stats().Sessions)
	})
}

// MQTT-3.1.4-3, MQTT-4.4.0-1, MQTT-4.6.0-1, MQTT-3.3.1-1.
func TestATakeoverSendsAgainWhatWasNotAcknowledged(t *testing.T) {
	t.Parallel()
	versions(t, func(t *testing.T, version byte) {
		h := build(t, nil)
		old := h.join(lasting("c", version))
		old.subscribe(1, "own/#")
		pub := h.join(connect{id: "pub", version: version})
		var sent []packets.Packet
		for _, body := range []string{"0", "1", "2", "3"} {
			pub.publish(1, "own/x", body)
			sent = append(sent, old.read(packets.Publish))
		}
		old.ack(sent[1].PacketID)
		old.ping()
		c, ack := h.dial(lasting("c", version))
		assert.True(t, ack.SessionPresent)
		assert.Empty(t, c.early, "MQTT-3.2.0-1: CONNACK is first")
		assert.Equal(t, map[byte]byte{4: 0, 5: 0x8e}[version], old.ended())
		pub.publish(1, "own/x", "new")
		for _, i := range []int{0, 2, 3} {
			pk := c.message()
			assert.Equal(t, sent[i].PacketID, pk.PacketID)
			assert.Equal(t, sent[i].Payload, pk.Payload)
			assert.Equal(t, byte(1), pk.FixedHeader.Qos)
			assert.True(t, pk.FixedHeader.Dup, "MQTT-3.3.1-1")
		}
		pk := c.message()
		assert.Equal(t, "new", string(pk.Payload))
		assert.False(t, pk.FixedHeader.Dup)
		assert.Empty(t, c.messages())
		h.join(lasting("c", version)).ping()
		assert.Empty(t, h.join(lasting("c", version)).messages(), "what was acknowledged does not come again")
	})
}

func TestACleanTakeoverSendsNothingAgain(t *testing.T) { // MQTT-3.1.2-4
	versions(t, func(t *testing.T, version byte) {
		h := build(t, nil)
		old := h.join(lasting("c", version))
		old.subscribe(1, "own/#")
		old.publish(1, "own/x", "x")
		old.read(packets.Publish)
		c, ack := h.dial(connect{id: "c", version: version})
		assert.False(t, ack.SessionPresent)
		assert.Equal(t, map[byte]byte{4: 0, 5: 0x8e}[version], old.ended())
		assert.Empty(t, c.messages())
	})
}

// MQTT-4.3.3-8 to -12 and the table of MQTT-4.4.0-1: the receiver's state stays with the
// session.
func TestAQoS2HandshakeGoesOnAfterAReconnect(t *testing.T) {
	t.Parallel()
	versions(t, func(t *testing.T, version byte) {
		h := build(t, nil)
		sub := h.join(connect{id: "sub"})
		sub.subscribe(1, "own/x")
		publish := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: 2}, PacketID: 9, TopicName: "own/x", Payload: []byte("once")}
		release := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Pubrel, Qos: 1}, PacketID: 9}

		c := h.join(lasting("c", version))
		c.send(publish)
		assert.Zero(t, c.read(packets.Pubrec).ReasonCode)
		h.lose(c, 1)
		c = h.join(lasting("c", version))
		publish.FixedHeader.Dup = true
		c.send(publish)
		assert.Equal(t, uint16(9), c.read(packets.Pubrec).PacketID)
		h.lose(c, 1)
		c = h.join(lasting("c", version))
		c.send(release)
		done := c.read(packets.Pubcomp)
		assert.Equal(t, uint16(9), done.PacketID)
		assert.Zero(t, done.ReasonCode)
		assert.Equal(t, []string{"once"}, sub.bodies())

		publish.FixedHeader.Dup = false
		c.send(publish)
		c.read(packets.Pubrec)
		assert.Equal(t, []string{"once"}, sub.bodies(), "MQTT-4.3.3-12: after PUBCOMP the id is another message's")

		c = h.join(connect{id: "c", version: version})
		publish.FixedHeader.Dup = true
		c.send(publish)
		c.read(packets.Pubrec)
		assert.Equal(t, []string{"once"}, sub.bodies(), "MQTT-3.1.2-4: a clean start has forgotten the id")
	})
}

// MQTT-4.3.3-11: PUBREL is answered, whatever its id.
func TestAPubrelOfNoPublish(t *testing.T) {
	t.Parallel()
	versions(t, func(t *testing.T, version byte) {
		c := build(t, nil).join(connect{id: "c", version: version})
		for _, b := range [][]byte{{0x62, 2, 0, 77}, {0x62, 3, 0, 77, 0}, {0x62, 4, 0, 77, 0, 0}} {
			if version == 4 && b[1] > 2 {
				continue
			}
			c.raw(b)
			done := c.read(packets.Pubcomp)
			assert.Equal(t, uint16(77), done.PacketID)
			assert.Equal(t, map[byte]byte{4: 0, 5: 0x92}[version], done.ReasonCode)
		}
	})
}

func TestUnsubscribingKeepsWhatIsInFlight(t *testing.T) { // MQTT-3.10.4-3
	versions(t, func(t *testing.T, version byte) {
		h := build(t, nil)
		c := h.join(lasting("c", version))
		c.subscribe(1, "own/x")
		c.publish(1, "own/x", "x")
		first := c.read(packets.Publish)
		c.unsubscribe("own/x")
		c.publish(1, "own/x", "too late")
		assert.Empty(t, c.messages(), "MQTT-3.10.4-2")
		again := h.join(lasting("c", version)).message()
		assert.Equal(t, first.PacketID, again.PacketID)
		assert.True(t, again.FixedHeader.Dup)
	})
}

func TestKeepAliveIsOneAndAHalfTimesItsInterval(t *testing.T) { // MQTT-3.1.2-22, 3.1.1 MQTT-3.1.2-24
	t.Parallel()
	versions(t, func(t *testing.T, version byte) {
		t.Parallel()
		h := build(t, nil)
		forever := h.join(connect{id: "forever", version: version})
		alive := h.join(connect{id: "alive", version: version, keep: 1})
		silent := h.join(connect{id: "silent", version: version, keep: 1})
		start, ended := time.Now(), make(chan byte, 1)
		var took time.Duration
		go func() {
			for {
				if pk, err := silent.next(); err != nil || pk.FixedHeader.Type == packets.Disconnect {
					took = time.Since(start)
					ended <- pk.ReasonCode
					return
				}
			}
		}()
		for range 4 {
			time.Sleep(500 * time.Millisecond)
			alive.ping() // MQTT-3.12.4-1
		}
		assert.Equal(t, map[byte]byte{4: 0, 5: 0x8d}[version], <-ended)
		assert.GreaterOrEqual(t, took, 1400*time.Millisecond)
		assert.Less(t, took, 2500*time.Millisecond)
		forever.ping() // 3.1.2.10: 0 turns it off
	})
}
