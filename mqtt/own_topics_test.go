package mqtt_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/mqtt"
)

// Clients cannot publish to the gateway's topics outside its tree, and a client's earlier
// retained message there does not come back.
func TestTheGatewaysOwnTopics(t *testing.T) {
	t.Parallel()
	h := build(t, func(o *mqtt.Options) { o.OwnTopics = []string{"discovery/home/", "discovery/home_"} })
	c := h.join(connect{id: "client", version: 5})
	c.subscribe(1, "discovery/#")
	assert.NotZero(t, c.publish(1, "discovery/home/config", "mine"))
	assert.NotZero(t, c.publish(1, "discovery/home_lamp/config", "mine"))
	assert.Zero(t, c.publish(1, "discovery/homely/config", "mine"))
	require.Equal(t, "mine", string(c.message().Payload))
}
