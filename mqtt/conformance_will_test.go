package mqtt_test

import (
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// MQTT-3.1.2-8, MQTT-3.14.4-3, 3.1.1 MQTT-3.14.4-3: a will is sent whenever the
// connection ends without a DISCONNECT of reason 0, and then once.
func TestAWillIsSentUnlessItsClientSaysGoodbye(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		name     string
		versions string
		sent     bool
		keep     uint16
		end      func(h *house, c *client)
	}{
		{"the connection breaks", "45", true, 0, func(_ *house, c *client) { c.nc.Close() }},
		{"a protocol error", "45", true, 0, func(_ *house, c *client) { c.raw([]byte{0x36, 6, 0, 1, 'a', 0, 1, 0}) }},
		{"a packet that is cut off", "45", true, 0, func(_ *house, c *client) { c.raw([]byte{0x30, 9, 0}); c.nc.Close() }},
		{"the keep alive runs out", "45", true, 1, func(*house, *client) {}},
		{"a takeover", "45", true, 0, func(h *house, _ *client) { h.join(connect{id: "c"}).nc.Close() }},
		{"DISCONNECT", "45", false, 0, func(_ *house, c *client) { c.raw([]byte{0xe0, 0}) }},
		{"DISCONNECT with reason 0", "5", false, 0, func(_ *house, c *client) { c.raw([]byte{0xe0, 1, 0}) }},
		{"DISCONNECT with reason 0 and no properties", "5", false, 0, func(_ *house, c *client) { c.raw([]byte{0xe0, 2, 0, 0}) }},
		{"DISCONNECT with will", "5", true, 0, func(_ *house, c *client) { c.raw([]byte{0xe0, 1, 4}) }},
		{"DISCONNECT with will and no properties", "5", true, 0, func(_ *house, c *client) { c.raw([]byte{0xe0, 2, 4, 0}) }},
		{"DISCONNECT with an error", "5", true, 0, func(_ *house, c *client) { c.raw([]byte{0xe0, 1, 0x80}) }},
	} {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			versions(t, func(t *testing.T, version byte) {
				if version == 4 && x.versions == "5" {
					return
				}
				h := build(t, nil)
				sub := h.join(connect{id: "sub", version: version})
				sub.subscribe(1, "gone/+")
				c := h.join(connect{id: "c", version: version, keep: x.keep, will: lastWill("gone/c")})
				assert.Empty(t, sub.messages(), "not before")
				x.end(h, c)
				h.left(1)
				assert.Equal(t, x.sent, len(sub.messages()) == 1)
				assert.Empty(t, sub.messages())
			})
		})
	}
}

func TestAWillHasItsQoSAndRetainFlag(t *testing.T) { // MQTT-3.1.2-14 and -15, 3.1.2.6
	versions(t, func(t *testing.T, version byte) {
		for qos := range byte(3) {
			for _, retain := range []bool{false, true} {
				h := build(t, nil)
				sub := h.join(connect{id: "sub", version: version})
				sub.subscribe(2, "gone/c")
				w := lastWill("gone/c")
				w.WillQos, w.WillRetain = qos, retain
				h.lose(h.join(connect{id: "c", version: version, will: w}), 1)
				pk := sub.message()
				assert.Equal(t, qos, pk.FixedHeader.Qos)
				assert.False(t, pk.FixedHeader.Retain)
				assert.Equal(t, "bye", string(pk.Payload))
				late := h.join(connect{id: "late", version: version})
				late.subscribe(1, "gone/c")
				kept := late.all()
				if !retain {
					assert.Empty(t, kept)
					continue
				}
				require.Len(t, kept, 1)
				assert.True(t, kept[0].FixedHeader.Retain)
				assert.Equal(t, "bye", string(kept[0].Payload))
			}
		}
	})
}

func TestAWillCarriesItsProperties(t *testing.T) { // 3.1.3.2, MQTT-3.1.3-10
	h := build(t, nil)
	sub := h.join(connect{id: "sub", version: 5})
	sub.subscribe(1, "gone/c")
	w := lastWill("gone/c")
	w.WillProperties = packets.Properties{
		PayloadFormat: 1, PayloadFormatFlag: true, MessageExpiryInterval: 50, ContentType: "text/x",
		ResponseTopic: "answer/to", CorrelationData: []byte{0, 1, 0xff},
		User: []packets.UserProperty{{Key: "b", Val: "1"}, {Key: "a", Val: "2"}, {Key: "b", Val: "0"}},
	}
	h.lose(h.join(connect{id: "c", version: 5, will: w}), 1)
	p := sub.message().Properties
	assert.True(t, p.PayloadFormatFlag)
	assert.Equal(t, byte(1), p.PayloadFormat)
	assert.InDelta(t, 50, p.MessageExpiryInterval, 5)
	assert.Equal(t, "text/x", p.ContentType)
	assert.Equal(t, "answer/to", p.ResponseTopic)
	assert.Equal(t, []byte{0, 1, 0xff}, p.CorrelationData)
	assert.Equal(t, w.WillProperties.User, p.User)
	assert.Zero(t, p.WillDelayInterval)
}

func delayed(id string, delay, session uint32) connect {
	o := connect{id: id, version: 5, will: lastWill("gone/" + id), props: expiry(session)}
	o.will.WillProperties.WillDelayInterval = delay
	return o
}

// 3.1.2.5: until its delay has elapsed or its session ends, whichever is first.
func TestAWillIsDelayed(t *testing.T) { // MQTT-3.1.3-9
	t.Parallel()
	var k clock
	h := build(t, k.use)
	sub := h.join(connect{id: "sub", version: 5})
	sub.subscribe(1, "gone/+")
	h.lose(h.join(delayed("long", 100, 1000)), 1)
	h.lose(h.join(delayed("short", 10, 1000)), 1)
	h.lose(h.join(delayed("session", 500, 20)), 1)
	h.lose(h.join(delayed("back", 100, 1000)), 1)
	assert.Empty(t, sub.messages(), "none of them yet")
	back := delayed("back", 0, 1000)
	back.dirty, back.will = true, nil
	c, ack := h.dial(back)
	assert.True(t, ack.SessionPresent)
	h.lose(c, 1) // this connection has no will

	k.pass(15 * time.Second)
	assert.Equal(t, "gone/short", sub.message().TopicName)
	assert.Empty(t, sub.messages())
	k.pass(10 * time.Second)
	assert.Equal(t, "gone/session", sub.message().TopicName)
	assert.Empty(t, sub.messages())
	k.pass(80 * time.Second)
	assert.Equal(t, "gone/long", sub.message().TopicName)
	assert.Empty(t, sub.messages(), "one that came back has none")

	h.lose(h.join(delayed("now", 100, 0)), 1)
	assert.Equal(t, []string{"gone/now"}, sub.messages(), "the session ended with the connection")
}

func TestAWillOfASessionThatIsStartedAnew(t *testing.T) { // MQTT-3.1.4-4: the session ends, and so does the delay
	h := build(t, nil)
	sub := h.join(connect{id: "sub", version: 5})
	sub.subscribe(1, "gone/+")
	h.lose(h.join(delayed("c", 100, 1000)), 1)
	assert.Empty(t, sub.messages())
	assert.False(t, h.present(connect{id: "c", version: 5}))
	assert.Equal(t, []string{"gone/c"}, sub.messages())
}

// 3.1.2.5 and 3.1.4: the old connection's will is sent, unless the session goes on within
// the delay.
func TestAWillWhenItsConnectionIsTakenOver(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		name           string
		delay, session uint32
		clean, sent    bool
	}{
		{"no delay, and the session goes on", 0, 100, false, true},
		{"no delay, and the session ends", 0, 100, true, true},
		{"a delay, and the session goes on", 60, 100, false, false},
		{"a delay, and the session is started anew", 60, 100, true, true},
		{"a delay, and the session ended with its connection", 60, 0, false, true},
		{"a delay, and the session ended with its connection, and anew", 60, 0, true, true},
	} {
		t.Run(x.name, func(t *testing.T) {
			h := build(t, nil)
			sub := h.join(connect{id: "sub", version: 5})
			sub.subscribe(1, "gone/+")
			old := h.join(delayed("c", x.delay, x.session))
			h.join(connect{id: "c", version: 5, dirty: !x.clean, props: expiry(100)}).ping()
			assert.Equal(t, byte(0x8e), old.ended())
			h.left(2)
			assert.Equal(t, x.sent, len(sub.messages()) == 1)
		})
	}
	t.Run("3.1.1", func(t *testing.T) { // 3.1.1 MQTT-3.1.2-8
		for _, dirty := range []bool{false, true} {
			h := build(t, nil)
			sub := h.join(connect{id: "sub"})
			sub.subscribe(1, "gone/+")
			o := connect{id: "c", dirty: dirty, will: lastWill("gone/c")}
			old := h.join(o)
			o.will = nil
			h.join(o).ping()
			old.ended()
			h.left(2)
			assert.Len(t, sub.messages(), 1)
		}
	})
}
