package mqtt_test

import (
	"sync"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
)

// The gateway gets the messages that it watches, like a subscriber, until the watch ends.
func TestTheGatewayWatches(t *testing.T) {
	t.Parallel()
	h := build(t, nil)
	var mu sync.Mutex
	var heard []string
	note := func(topic string, payload []byte, _ bridge.Client) {
		mu.Lock()
		defer mu.Unlock()
		heard = append(heard, topic+" "+string(payload))
	}
	take := func() []string {
		mu.Lock()
		defer mu.Unlock()
		defer func() { heard = nil }()
		return heard
	}
	c := h.join(connect{id: "house"})
	require.Zero(t, c.publish(1, "homeassistant/status", "too early"))
	end := h.broker.Watch("homeassistant/status", note)
	endAll := h.broker.Watch("other/#", note)
	require.Zero(t, c.publish(1, "homeassistant/status", "online"))
	require.Zero(t, c.publish(1, "homeassistant/other", "x"))
	require.Zero(t, c.publish(1, "other/a/b", "y"))
	assert.Equal(t, []string{"homeassistant/status online", "other/a/b y"}, take())
	end()
	require.Zero(t, c.publish(1, "homeassistant/status", "online"))
	require.Zero(t, c.publish(1, "other", ""))
	assert.Equal(t, []string{"other "}, take())
	endAll()

	willing := h.join(connect{id: "leaves", will: &packets.ConnectParams{WillTopic: "homeassistant/status", WillPayload: []byte("offline")}})
	gone := make(chan string, 1)
	defer h.broker.Watch("homeassistant/status", func(_ string, payload []byte, _ bridge.Client) { gone <- string(payload) })()
	willing.nc.Close()
	assert.Equal(t, "offline", <-gone)
}

// The gateway's kept messages survive a restart, its other retained ones do not. Neither
// count for the clients' limits.
func TestWhatTheGatewayKeeps(t *testing.T) {
	t.Parallel()
	d := newDisk(t, nil)
	require.NoError(t, d.broker.PublishKept("watchtower/homeassistant/gw/5/last", []byte("kept"), 0))
	require.NoError(t, d.broker.PublishKept("watchtower/homeassistant/gw/6/last", []byte("kept"), 0))
	require.NoError(t, d.broker.PublishKept("watchtower/homeassistant/gw/6/last", nil, 0))
	require.NoError(t, d.broker.PublishRetained("watchtower/gateways/gw/info", []byte("own")))
	d.restart()
	assert.Equal(t, "kept", string(d.broker.Retained("watchtower/homeassistant/gw/5/last")))
	assert.Nil(t, d.broker.Retained("watchtower/homeassistant/gw/6/last"))
	assert.Nil(t, d.broker.Retained("watchtower/gateways/gw/info"))
	c := d.join(connect{id: "looker", version: 5})
	c.subscribe(1, "watchtower/homeassistant/#")
	m := c.message()
	assert.Equal(t, "kept", string(m.Payload))
	assert.True(t, m.FixedHeader.Retain)
	require.NoError(t, d.broker.PublishOwn("watchtower/homeassistant/gw/5/event", []byte("now")))
	m = c.message()
	assert.Equal(t, "now", string(m.Payload))
	assert.False(t, m.FixedHeader.Retain)
	assert.Nil(t, d.broker.Retained("watchtower/homeassistant/gw/5/event"))
}
