package gateway_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/config"
)

// The example's two motion sensors are devices with keys of their own. One of them, however often it
// sees something, is no alarm; both are one.
func TestTwoSensorsBeforeAnAlarm(t *testing.T) {
	t.Parallel()
	example, _, err := config.Load(nil, []string{"HOME=/"}, "../examples/launch/launch.yaml")
	require.NoError(t, err)
	cfg := launchConfig(t)
	cfg.Channels[9] = example.Channels[8]
	r := startWith(t, cfg)
	next := r.heardOn("9")
	hall, door := r.overSession("udp", "hall", r.keyOf("hall")), r.overSession("tcp", "door", r.keyOf("door"))
	for range 3 {
		assert.Equal(t, waits(1, 2), hall(9, "motion"))
	}
	assert.Contains(t, next(), `"type":"confirm","channel":9,"confirmed":1,"of":2`)
	assert.Equal(t, "taken", door(9, "motion"))
	line := next()
	assert.Contains(t, line, `"message":"motion"`)
	assert.Contains(t, line, `"name":"door","confirmed_by":[`)
	assert.Equal(t, waits(1, 2), door(9, "motion"), "and then all begins anew")
}
