package bench_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bench"
	"watchtower/config"
	"watchtower/internal/harness"
)

// from has the publishers of a run at the gateway of other options.
func from(o, at bench.Options) bench.Options {
	o.Origin = &bench.Gateway{URL: at.URL, SecretKey: at.SecretKey, UDPAddr: at.UDPAddr, TCPAddr: at.TCPAddr, MQTTAddr: at.MQTTAddr}
	return o
}

// Two names of one gateway are the same as one.
func TestTwoURLsOfOneGateway(t *testing.T) {
	at := startGateway(t, nil)
	for _, p := range bench.Protocols {
		o := at(brief(p, p))
		r := measure(t, from(o, o))
		assert.Empty(t, r.Faults, p)
		assert.Zero(t, r.Lost, p)
		require.NotNil(t, r.Server, p)
		require.NotNil(t, r.Origin, p)
		assert.Equal(t, *r.Server, *r.Origin, p)
		assert.Contains(t, r.Table(), "\npublish gateway  ")
		assert.Contains(t, r.Table(), "\nreceive gateway  ")
	}
}

// Publishers at one gateway, receivers at another that shares its channels.
func TestBetweenTwoGateways(t *testing.T) {
	servers := harness.StartNATS(t, 1, "")
	in := func(name string) func(bench.Options) bench.Options {
		return startGateway(t, func(c *config.Config) { c.Cluster.URL, c.Gateway.Name = servers.URL(), name })
	}
	a, b := in("a"), in("b")
	for _, p := range [][2]bench.Protocol{{bench.MQTT, bench.TCP}, {bench.HTTP, bench.SSE}, {bench.TCP, bench.MQTT}, {bench.UDPSession, bench.HTTP}} {
		o := brief(p[0], p[1])
		o.Timeout = 10 * time.Second
		r := measure(t, from(b(o), a(o)))
		assert.Empty(t, r.Faults, p)
		assert.Zero(t, r.Lost, p)
		assert.Positive(t, r.Delivered, p)
		assert.NotNil(t, r.Origin, p)
	}
	o := brief(bench.HTTP, bench.HTTP)
	o.Send = true
	_, err := bench.Run(t.Context(), from(b(o), a(o)))
	assert.ErrorContains(t, err, "--send: not between two gateways")
}

// Gateways that share nothing deliver nothing, which is no rate.
func TestBetweenTwoGatewaysThatAreAlone(t *testing.T) {
	a, b := startGateway(t, nil), startGateway(t, nil)
	o := brief(bench.MQTT, bench.TCP)
	o.Timeout = 100 * time.Millisecond
	r, err := bench.Run(t.Context(), from(b(o), a(o)))
	require.NoError(t, err)
	assert.NotEmpty(t, r.Faults)
	assert.Nil(t, r.Deliveries)
}
