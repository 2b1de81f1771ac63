package mqtt_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
)

func TestTheTopicThatOneSpeaksOnIsAFilter(t *testing.T) {
	t.Parallel()
	h := build(t, nil)
	const say, tell = "watchtower/channels/5/broadcast", "watchtower/channels/5/send"
	speaker := h.join(connect{id: "speaker"})
	plain := h.join(connect{id: "plain"})
	both := h.join(connect{id: "both", version: 5})
	usual := h.join(connect{id: "usual"})
	shared := h.join(connect{id: "shared"})
	require.Equal(t, []byte{1, 0}, append(plain.subscribe(1, say), plain.subscribe(0, tell)...))
	require.Equal(t, []byte{1, 1, 1}, both.subscribe(1, "watchtower/channels/5/#", say, tell))
	usual.subscribe(1, "watchtower/channels/5/broadcast/+")
	shared.subscribe(1, "$share/g/"+say)
	me := func(c *client) bridge.SenderID {
		c.subscribe(0, "watchtower/me")
		var said struct{ ID bridge.SenderID }
		require.NoError(t, json.Unmarshal(c.message().Payload, &said))
		return said.ID
	}
	id := me(plain)
	s, _ := h.hub.SenderByID(id)
	members, ok := h.hub.Directory().Members(s, 5)
	require.True(t, ok, "it joins")
	assert.Equal(t, 4, members.Count)

	require.Zero(t, speaker.publish(1, say, "open"))
	heard := both.message()
	assert.Equal(t, say, heard.TopicName)
	from := user(heard.Properties, "sender")
	require.Len(t, from, 1)
	for _, c := range []*client{plain, shared} {
		assert.Equal(t, say, c.message().TopicName)
	}
	assert.Equal(t, say+"/"+from[0], usual.message().TopicName)

	for _, to := range []string{fmt.Sprint(id), "both", "usual"} {
		speaker.publish(1, tell+"/"+to, to)
	}
	for _, x := range []struct {
		c    *client
		said string
	}{{plain, fmt.Sprint(id)}, {both, "both"}} {
		pk := x.c.message()
		assert.Equal(t, tell, pk.TopicName)
		assert.Equal(t, x.said, string(pk.Payload))
		assert.Empty(t, x.c.messages(), "once, and only its own")
	}
	assert.Empty(t, usual.messages())
	assert.Empty(t, shared.messages())

	plain.unsubscribe(say, tell)
	_, ok = h.hub.Directory().Members(s, 5)
	assert.False(t, ok)
	for _, no := range []string{"watchtower/channels/+/broadcast", "watchtower/channels/05/send", "watchtower/channels/5/said", "watchtower/channels/5"} {
		assert.Equal(t, []byte{0x80}, plain.subscribe(1, no), no)
	}
}

func TestANameStandsForAReceiver(t *testing.T) {
	t.Parallel()
	h := build(t, nil)
	const tell = "watchtower/channels/5/send/"
	valve := h.join(connect{id: "valve1"})
	valve.subscribe(1, "watchtower/channels/5/#")
	speaker := h.join(connect{id: "speaker", version: 5})
	require.Zero(t, speaker.publish(1, tell+"valve1", "open"))
	pk := valve.message()
	assert.Equal(t, "open", string(pk.Payload))
	assert.Regexp(t, `^watchtower/channels/5/send/\d+/\d+$`, pk.TopicName, "what is delivered has the ids")

	assert.EqualValues(t, 0x10, speaker.publish(1, tell+"valve2", "open"), "nobody has that name")
	assert.EqualValues(t, 0x10, speaker.publish(1, tell+"speaker", "open"), "it has not joined")
	assert.EqualValues(t, 0x10, speaker.publish(1, tell+"12345", "open"), "digits are an id")
	assert.EqualValues(t, 0x87, speaker.publish(1, tell+"0", "open"))
	assert.EqualValues(t, 0x87, speaker.publish(1, tell+"garden valve", "open"))

	// A will's receiver may join later.
	doomed := h.join(connect{id: "doomed", will: &packets.ConnectParams{WillTopic: tell + "valve2", WillPayload: []byte("gone")}})
	late := h.join(connect{id: "valve2"})
	late.subscribe(1, "watchtower/channels/5/send")
	doomed.nc.Close()
	assert.Equal(t, "gone", string(late.message().Payload))
}
