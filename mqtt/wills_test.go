package mqtt_test

import (
	"bytes"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
	"watchtower/mqtt"
)

func TestWillsOfAllClientsTogetherAreBounded(t *testing.T) {
	t.Parallel()
	h := build(t, func(o *mqtt.Options) { o.MQTTQueueBytes = 1 << 20 }) // a quarter for wills
	large := func(i int) connect {
		return connect{id: fmt.Sprint("c", i), version: 5, will: &packets.ConnectParams{WillTopic: "gone", WillPayload: bytes.Repeat([]byte("x"), 60_000)}}
	}
	var all []*client
	for i := range 4 {
		c, ack := h.dial(large(i))
		require.Zero(t, ack.ReasonCode)
		all = append(all, c)
	}
	_, ack := h.dial(large(4))
	assert.Equal(t, packets.ErrQuotaExceeded.Code, ack.ReasonCode)
	assert.Equal(t, 1, h.dropped(bridge.Limit))
	h.join(connect{id: "small", version: 5, will: lastWill("gone")}) // there is room for this one
	for _, c := range all {
		c.nc.Close()
	}
	require.Eventually(t, func() bool {
		runtime.GC()
		c, ack := h.dial(large(5))
		c.nc.Close()
		return ack.ReasonCode == 0
	}, 5*time.Second, 10*time.Millisecond, "what the others held is free again")
}
