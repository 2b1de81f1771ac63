package mqtt_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
)

// me asks the broker who the client is.
func (c *client) me() (id bridge.SenderID, name string) {
	c.t.Helper()
	require.Equal(c.t, []byte{0}, c.subscribe(0, "watchtower/me"))
	pk := c.message()
	assert.Equal(c.t, "watchtower/me", pk.TopicName)
	var who struct {
		ID   bridge.SenderID
		Name string
	}
	require.NoError(c.t, json.Unmarshal(pk.Payload, &who))
	return who.ID, who.Name
}

func TestIdentity(t *testing.T) {
	t.Parallel()
	h := build(t, nil)
	kitchen := h.join(connect{id: "kitchen"})
	id, name := kitchen.me()
	assert.Equal(t, "kitchen", name)
	assert.NotZero(t, id)

	t.Run("the same client id is the same sender", func(t *testing.T) {
		again := h.join(connect{id: "kitchen", version: 5})
		id2, _ := again.me()
		assert.Equal(t, id, id2)
	})
	t.Run("no client id, or one that is no name, gets an id for its session", func(t *testing.T) {
		for _, o := range []connect{{id: ""}, {id: "no name!"}, {id: "", version: 5}} {
			c := h.join(o)
			other, name := c.me()
			assert.Empty(t, name)
			assert.NotEqual(t, id, other)
		}
	})
	t.Run("an assigned client id is told", func(t *testing.T) {
		_, ack := h.dial(connect{version: 5})
		assert.NotEmpty(t, ack.Properties.AssignedClientID)
	})
	t.Run("with a token the client is the token's sender", func(t *testing.T) {
		reg, err := h.hub.Register(bridge.Registration{Name: "browser"})
		require.NoError(t, err)
		c := h.join(connect{id: "whatever", password: reg.Token})
		got, name := c.me()
		assert.Equal(t, reg.ID, got)
		assert.Equal(t, "browser", name)
		_, err = h.hub.Tokens().Authorize(reg.ID, "")
		assert.Error(t, err, "what MQTT holds is not open to its id alone")
	})
	t.Run("a name that MQTT has held wants its token over HTTP", func(t *testing.T) {
		_, err := h.hub.Tokens().Authorize(id, "")
		assert.Error(t, err)
		reg, err := h.hub.Register(bridge.Registration{Name: "kitchen"})
		require.NoError(t, err)
		assert.Equal(t, id, reg.ID)
		_, err = h.hub.Tokens().Authorize(id, reg.Token)
		assert.NoError(t, err)
	})
	t.Run("a protected name wants its token", func(t *testing.T) {
		reg, err := h.hub.Register(bridge.Registration{Name: "safe", Protected: true})
		require.NoError(t, err)
		_, ack := h.dial(connect{id: "safe"})
		assert.Equal(t, byte(5), ack.ReasonCode)
		_, ack = h.dial(connect{id: "safe", version: 5})
		assert.Equal(t, packets.ErrNotAuthorized.Code, ack.ReasonCode)
		c := h.join(connect{id: "safe", password: reg.Token})
		got, _ := c.me()
		assert.Equal(t, reg.ID, got)
	})
	t.Run("a wrong password", func(t *testing.T) {
		_, ack := h.dial(connect{id: "x", password: "wrong"})
		assert.Equal(t, byte(4), ack.ReasonCode)
		_, ack = h.dial(connect{id: "x", password: "wrong", version: 5})
		assert.Equal(t, packets.ErrBadUsernameOrPassword.Code, ack.ReasonCode)
	})
	t.Run("client ids that the gateway reserves", func(t *testing.T) {
		_, ack := h.dial(connect{id: "inline"})
		assert.Equal(t, byte(2), ack.ReasonCode)
		_, ack = h.dial(connect{id: "inline", version: 5})
		assert.Equal(t, packets.ErrClientIdentifierNotValid.Code, ack.ReasonCode)
	})
}

func TestJoinAndLeaveBySubscribing(t *testing.T) {
	t.Parallel()
	h := build(t, nil)
	c := h.join(connect{id: "lamp"})
	id, _ := c.me()
	lamp := func() (member, reachable bool) {
		s, err := h.hub.Holds().Register(bridge.Naming{Name: "lamp", Lasting: true}, func() {})
		require.NoError(t, err)
		defer h.hub.Holds().Release(s)
		web := h.web("web")
		a := &bridge.Attachment{Via: viaHTTP, Broadcasts: true, Sends: true}
		require.NoError(t, h.hub.Attach(web, 5, a))
		defer h.hub.Detach(a)
		_, err = h.hub.Publish(web, bridge.Publication{Type: bridge.Send, Channels: []bridge.Channel{5}, Receivers: []bridge.SenderID{id}, Content: bridge.Content{Data: []byte("x")}, Via: viaHTTP})
		return len(h.hub.Joined(s.Sender())) == 1, err == nil
	}
	for _, test := range []struct {
		filter            string
		member, reachable bool
	}{
		{"watchtower/channels/5/broadcast/+", true, false},
		{"watchtower/channels/5/#", true, true},
		{"watchtower/channels/5/broadcast/1234", true, false},
		{fmt.Sprintf("watchtower/channels/5/send/%d/#", id), false, true},
		{"watchtower/channels/5/send/+/+", false, true},
		{fmt.Sprintf("watchtower/channels/5/send/%d/#", id+1), false, false},
		{"$share/group/watchtower/channels/5/#", true, false},
		{"watchtower/channels/+/#", false, false},
		{"watchtower/#", false, false},
		{"#", false, false},
		{"watchtower/channels/6/#", true, false}, // on another channel
	} {
		assert.Equal(t, []byte{1}, c.subscribe(1, test.filter), test.filter)
		member, reachable := lamp()
		assert.Equal(t, test.member, member, "%s joins", test.filter)
		assert.Equal(t, test.reachable, reachable, "%s can be sent to", test.filter)
		c.messages()
		c.unsubscribe(test.filter)
		member, reachable = lamp()
		assert.False(t, member || reachable, "%s: left", test.filter)
	}

	t.Run("the last filter of a channel leaves it", func(t *testing.T) {
		c.subscribe(1, "watchtower/channels/5/broadcast/+", "watchtower/channels/5/#", "watchtower/channels/5/#")
		c.unsubscribe("watchtower/channels/5/#")
		member, reachable := lamp()
		assert.True(t, member)
		assert.False(t, reachable)
		c.unsubscribe("watchtower/channels/5/broadcast/+")
		member, _ = lamp()
		assert.False(t, member)
	})
	t.Run("a clean session leaves with its connection", func(t *testing.T) {
		c.subscribe(1, "watchtower/channels/5/#")
		c.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Disconnect}})
		require.Eventually(t, func() bool { member, _ := lamp(); return !member }, 5*time.Second, 5*time.Millisecond)
	})
	t.Run("leaving by another protocol ends the subscription", func(t *testing.T) {
		c := h.join(connect{id: "lamp"})
		c.subscribe(1, "watchtower/channels/5/#", "other/#")
		hold, err := h.hub.Holds().Register(bridge.Naming{Name: "lamp", Lasting: true}, func() {})
		require.NoError(t, err)
		h.hub.Leave(hold.Sender(), []bridge.Channel{5})
		h.hub.Holds().Release(hold)
		assert.Equal(t, []byte{}, append([]byte{}, c.unsubscribe("watchtower/channels/5/#")...)) // 3.1.1 has no codes
		member, _ := lamp()
		assert.False(t, member)
		c.publish(1, "watchtower/channels/5/broadcast", "x")
		c.publish(0, "other/x", "x")
		assert.Equal(t, []string{"other/x"}, c.messages())
	})
}

func TestStamping(t *testing.T) {
	t.Parallel()
	h := build(t, nil)
	five := h.join(connect{id: "five", version: 5})
	three := h.join(connect{id: "three"})
	threeID, _ := three.me()
	fiveID, _ := five.me()
	five.subscribe(1, "watchtower/channels/5/#")
	three.subscribe(1, "watchtower/channels/5/#")

	for _, topic := range []string{"watchtower/channels/5/broadcast", fmt.Sprintf("watchtower/channels/5/broadcast/%d", threeID)} {
		three.publish(0, topic, "hello")
		want := fmt.Sprintf("watchtower/channels/5/broadcast/%d", threeID)
		pk := five.message()
		assert.Equal(t, want, pk.TopicName)
		assert.Equal(t, "hello", string(pk.Payload))
		assert.Equal(t, []string{fmt.Sprint(threeID)}, user(pk.Properties, "sender"))
		assert.Equal(t, []string{"three"}, user(pk.Properties, "sender-name"))
		assert.Equal(t, []string{"5"}, user(pk.Properties, "channel"))
		assert.Equal(t, []string{"broadcast"}, user(pk.Properties, "type"))
		require.Len(t, user(pk.Properties, "id"), 1)
		assert.Len(t, user(pk.Properties, "id")[0], 26)
		assert.Empty(t, pk.Properties.ContentType)
		assert.Equal(t, want, three.message().TopicName)
	}

	five.publishPacket(packets.Packet{
		FixedHeader: packets.FixedHeader{Qos: 1, Retain: true}, TopicName: "watchtower/channels/5/broadcast", Payload: []byte(`{"a":1}`),
		Properties: packets.Properties{ContentType: "application/json", ResponseTopic: "answer/here", CorrelationData: []byte("c"), User: []packets.UserProperty{
			{Key: "sender", Val: "1"}, {Key: "mine", Val: "kept"}, {Key: "id", Val: "forged"}}},
	})
	pk := five.message()
	assert.Equal(t, []string{fmt.Sprint(fiveID)}, user(pk.Properties, "sender"), "a client's word for it is replaced")
	assert.Equal(t, []string{"kept"}, user(pk.Properties, "mine"))
	assert.NotEqual(t, []string{"forged"}, user(pk.Properties, "id"))
	assert.Equal(t, "application/json", pk.Properties.ContentType)
	assert.Equal(t, "answer/here", pk.Properties.ResponseTopic)
	assert.Equal(t, "c", string(pk.Properties.CorrelationData))
	assert.Equal(t, byte(1), pk.FixedHeader.Qos)
	late := h.join(connect{id: "late"})
	late.subscribe(1, "watchtower/channels/5/#")
	assert.Empty(t, late.messages(), "the retain flag on channel messages is cleared")
}

func TestRefusedPublishes(t *testing.T) {
	t.Parallel()
	h := build(t, nil)
	three, five := h.join(connect{id: "three"}), h.join(connect{id: "five", version: 5})
	spy := h.join(connect{id: "spy"})
	spy.subscribe(1, "watchtower/#", "$SYS/#")
	spy.messages()
	id, _ := five.me()
	topics := []string{
		fmt.Sprintf("watchtower/channels/5/broadcast/%d", id+1), // another sender
		"watchtower/channels/5/broadcast/4294967295", "watchtower/channels/5/broadcast/9",
		"watchtower/channels/0/broadcast", "watchtower/channels/4294967296/broadcast", "watchtower/channels/5/send/0",
		"watchtower/channels/5/send/77", // has not joined
		"watchtower/members/5/gw", "watchtower/gateways/gw/status", "watchtower/me", "watchtower/x", "$SYS/x",
	}
	for i, topic := range topics {
		one, two := byte(0x87), byte(0x87)
		if topic == "watchtower/channels/5/send/77" {
			one, two = 0x10, 0 // the handshake goes on
		}
		assert.Equal(t, one, five.publish(1, topic, "x"), topic)
		assert.Equal(t, two, five.publish(2, topic, "x"), topic)
		five.publish(0, topic, "x")
		five.ping()
		assert.Zero(t, three.publish(1, topic, "x"), "3.1.1 is acknowledged and dropped: %s", topic)
		assert.Zero(t, three.publish(2, topic, "x"), topic)
		assert.Equal(t, 5*(i+1), h.dropped(bridge.Refused))
	}
	assert.Equal(t, byte(0x87), five.publish(1, "watchtower/channels/5/broadcast", string(make([]byte, 64001))))
	assert.Zero(t, five.publish(1, "watchtower/channels/5/broadcast", string(make([]byte, 64000))))
	assert.Len(t, spy.messages(), 1)
}

func TestRefusedSubscriptions(t *testing.T) {
	t.Parallel()
	h := build(t, nil)
	three, five := h.join(connect{id: "three"}), h.join(connect{id: "five", version: 5})
	for _, filter := range []string{"watchtower/channels/0/#", "watchtower/channels/x/#", "watchtower/channels/5/said", "watchtower/nothing", "watchtower/gateways/gw/secrets"} {
		assert.Equal(t, []byte{0x87, 1}, five.subscribe(1, filter, "fine/#"), filter)
		assert.Equal(t, []byte{0x80, 2}, three.subscribe(2, filter, "fine/#"), filter)
	}
	for _, filter := range []string{"a#", "+a/b", "a/b+/c", "a/#/b", "#a", "$share/x", "$share//a", "$share/g+/a", "$SHARE/g/a", "$share/g/"} {
		assert.Equal(t, []byte{0x8f}, five.subscribe(1, filter), filter)
		assert.Equal(t, []byte{0x80}, three.subscribe(1, filter), filter)
	}
}

// Only the receiver gets a send, whatever others subscribe to.
func TestSendsArePrivate(t *testing.T) {
	t.Parallel()
	h := build(t, nil)
	alice, bob := h.join(connect{id: "alice", version: 5}), h.join(connect{id: "bob"})
	aliceID, _ := alice.me()
	bobID, _ := bob.me()
	alice.subscribe(1, "watchtower/channels/5/#")
	bob.subscribe(1, "watchtower/channels/5/#")
	var spies []*client
	filters := []string{
		"#", "+/#", "watchtower/#", "watchtower/+/#", "watchtower/channels/#", "watchtower/channels/+/#", "watchtower/channels/5/#",
		"watchtower/channels/5/send/#", "watchtower/channels/5/send/+/+", "watchtower/channels/+/send/+/+",
		fmt.Sprintf("watchtower/channels/5/send/%d/#", aliceID), fmt.Sprintf("watchtower/channels/5/send/%d/%d", aliceID, bobID),
		fmt.Sprintf("watchtower/channels/5/send/+/%d", bobID), "+/+/+/+/+/+", "watchtower/channels/5/+/#",
		"$share/g/watchtower/channels/5/#", "$share/g/#", fmt.Sprintf("$share/g/watchtower/channels/5/send/%d/#", aliceID),
	}
	for i, filter := range filters {
		spy := h.join(connect{id: fmt.Sprintf("spy%d", i), version: byte(4 + i%2)})
		require.Equal(t, []byte{1}, spy.subscribe(1, filter), filter)
		spy.messages()
		spies = append(spies, spy)
	}
	for range 3 { // with a route that is cached, too
		bob.publish(1, fmt.Sprintf("watchtower/channels/5/send/%d", aliceID), "secret")
		pk := alice.message()
		assert.Equal(t, fmt.Sprintf("watchtower/channels/5/send/%d/%d", aliceID, bobID), pk.TopicName)
		assert.Equal(t, []string{"send"}, user(pk.Properties, "type"))
	}
	for i, spy := range spies {
		for _, topic := range spy.messages() {
			assert.NotContains(t, topic, "/send/", filters[i])
		}
	}
	assert.Empty(t, bob.messages())
}

func TestMembersTopic(t *testing.T) {
	t.Parallel()
	h := build(t, nil)
	watcher := h.join(connect{id: "watcher"})
	watcher.subscribe(1, "watchtower/members/+/+")
	lamp := h.join(connect{id: "lamp"})
	id, _ := lamp.me()
	began, updates := time.Now(), 1
	lamp.subscribe(1, "watchtower/channels/5/#")
	pk := watcher.message()
	assert.Equal(t, "watchtower/members/5/gw", pk.TopicName)
	assert.JSONEq(t, fmt.Sprintf(`{"count":1,"members":[{"id":%d,"name":"lamp","via":"mqtt"}]}`, id), string(pk.Payload))
	late := h.join(connect{id: "late"})
	late.subscribe(1, "watchtower/members/5/#")
	got := late.message()
	assert.True(t, got.FixedHeader.Retain)
	assert.Equal(t, pk.Payload, got.Payload)

	for range 20 { // for more than half a second
		time.Sleep(30 * time.Millisecond)
		lamp.unsubscribe("watchtower/channels/5/#")
		lamp.subscribe(1, "watchtower/channels/5/#")
	}
	lamp.unsubscribe("watchtower/channels/5/#")
	for len(pk.Payload) > 0 {
		pk = watcher.message()
		updates++
	}
	assert.LessOrEqual(t, float64(updates-1), time.Since(began).Seconds()/0.9, "one update a second at most")
	again := h.join(connect{id: "again"})
	again.subscribe(1, "watchtower/members/5/#")
	assert.Empty(t, again.messages())
}
