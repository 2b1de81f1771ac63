package mqtt_test

import (
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
)

const wanted = "watchtower/channels/9/broadcast"

// protected returns the token of a name that an operator has protected.
func (h *house) protected(name string) string {
	reg, err := h.hub.Register(bridge.Registration{Name: name, Protected: true})
	require.NoError(h.t, err)
	yes := true
	require.NoError(h.t, h.hub.Registry().Change(reg.ID, bridge.SenderChange{Protected: &yes}))
	return reg.Token
}

// wants makes channel 9 want two.
func (h *house) wants(unprotected bool) {
	h.hub.Directory().SetRules(map[bridge.Channel]bridge.Rule{9: {Confirm: 2, Within: time.Hour, Unprotected: unprotected}})
}

// What is said on a channel that wants two is neither delivered nor kept before the second has
// said it, by every way into the broker.
func TestAChannelThatWantsTwo(t *testing.T) {
	t.Parallel()
	versions(t, func(t *testing.T, version byte) {
		h := build(t, nil)
		h.wants(false)
		ann := h.join(connect{id: "a", version: version, password: h.protected("ann")})
		bob := h.join(connect{id: "b", version: version, password: h.protected("bob")})
		listener := h.join(connect{id: "l", version: 5})
		listener.subscribe(1, "watchtower/channels/9/#", "watchtower/confirm/+")
		waits, refused := byte(0), byte(0)
		if version == 5 {
			waits, refused = packets.CodeNoMatchingSubscribers.Code, packets.ErrNotAuthorized.Code
		}
		for _, qos := range []byte{0, 1, 2} {
			for _, withProperties := range []bool{false, true} { // those are not plain
				pk := packets.Packet{FixedHeader: packets.FixedHeader{Qos: qos, Retain: true}, TopicName: wanted, Payload: []byte("go")}
				if withProperties {
					pk.Properties = packets.Properties{MessageExpiryInterval: 60, User: []packets.UserProperty{{Key: "confirmed_by", Val: "forged"}}}
				}
				for range 2 { // the same again changes nothing
					if code := ann.say(pk); qos > 0 {
						assert.Equal(t, waits, code)
					}
				}
				ann.ping()
				assert.Equal(t, []string{"watchtower/confirm/9"}, listener.messages())
				assert.Zero(t, bob.say(pk))
				m := listener.message()
				assert.Equal(t, "go", string(m.Payload))
				ids := bridge.JoinIDs([]bridge.SenderID{h.idOf("ann"), h.idOf("bob")})
				assert.Equal(t, []string{ids}, user(m.Properties, "confirmed_by"))
			}
		}
		assert.Zero(t, h.dropped(bridge.Refused), "to wait is no refusal")
		late := h.join(connect{id: "late", version: 5})
		late.subscribe(1, "watchtower/channels/9/#")
		assert.Empty(t, late.messages(), "nothing is retained")

		shared := h.join(connect{id: "shared", version: version})
		assert.Equal(t, refused, shared.publish(1, wanted, "go"), "the secret key is everybody's")
		shared.subscribe(1, "watchtower/channels/9/send/"+bridge.JoinIDs([]bridge.SenderID{h.idOf("shared")})+"/+")
		assert.Equal(t, refused, ann.publish(1, "watchtower/channels/9/send/shared", "go"), "sends are refused")
		assert.Empty(t, listener.messages())
		assert.Equal(t, 2, h.dropped(bridge.Refused))
	})
}

// say publishes, and returns the reason code of the first answer.
func (c *client) say(pk packets.Packet) byte {
	if pk.FixedHeader.Qos < 2 {
		return c.publishPacket(pk)
	}
	pk.FixedHeader.Type, pk.PacketID = packets.Publish, c.id()
	c.send(pk)
	rec := c.read(packets.Pubrec)
	c.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Pubrel, Qos: 1}, PacketID: rec.PacketID})
	c.read(packets.Pubcomp)
	return rec.ReasonCode
}

func (h *house) idOf(name string) bridge.SenderID {
	id, refusal := h.hub.Receiver(name)
	require.Nil(h.t, refusal)
	return id
}

// The attacks that one client can try alone.
func TestOneClientIsNotTwo(t *testing.T) {
	t.Parallel()
	h := build(t, nil)
	h.wants(false)
	token := h.protected("ann")
	listener := h.join(connect{id: "l", version: 5})
	listener.subscribe(1, "watchtower/channels/9/#")
	waits := packets.CodeNoMatchingSubscribers.Code

	first := h.join(connect{id: "one", version: 5, password: token})
	assert.Equal(t, waits, first.publish(1, wanted, "go"))
	second := h.join(connect{id: "two", version: 5, password: token})
	assert.Equal(t, waits, second.publish(1, wanted, "go"), "two client ids with one token")
	again := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: 1, Dup: true}, TopicName: wanted, Payload: []byte("go"), PacketID: 7}
	second.send(again)
	assert.Equal(t, waits, second.read(packets.Puback).ReasonCode, "a repetition")
	assert.Equal(t, packets.ErrNotAuthorized.Code, second.publish(1, wanted+"/12345", "go"), "in another's name")

	// A session that the token opened is taken over with the secret key: that proves nothing.
	held := h.join(connect{id: "bob", version: 5})
	_ = h.protected("bob")
	assert.Equal(t, packets.ErrNotAuthorized.Code, held.publish(1, wanted, "go"), "connected before the name was protected")

	will := &packets.ConnectParams{WillTopic: wanted, WillPayload: []byte("go"), WillQos: 1}
	dying := h.join(connect{id: "dying", version: 5, password: h.protected("carl"), will: will})
	dying.nc.Close()
	require.Eventually(t, func() bool { return h.dropped(bridge.Refused) == 3 }, 10*time.Second, time.Millisecond, "a will is nobody's word")
	assert.Empty(t, listener.messages())
}
