package mqtt_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/internal/harness"
	"watchtower/mqtt"
)

// settled returns the heap once it does not shrink any more.
func settled(t testing.TB) int {
	for last := harness.Heap(t); ; {
		time.Sleep(50 * time.Millisecond) // several times the interval of groups
		now := harness.Heap(t)
		if now > last-32<<10 {
			return now
		}
		last = now
	}
}

// grows returns by how much the heap grows while f runs.
func grows(t testing.TB, f func()) int {
	before := settled(t)
	f()
	return settled(t) - before
}

// away makes n sessions that subscribe and disconnect.
func (h *house) away(n int, filter func(i int) string) {
	for i := range n {
		c := h.join(connect{id: fmt.Sprint("away", i), dirty: true})
		require.Equal(h.t, []byte{1}, c.subscribe(1, filter(i)))
		c.nc.Close()
	}
	require.Eventually(h.t, func() bool { return h.broker.Stats().Connections == 0 }, 5*time.Second, time.Millisecond)
}

func own(i int) string { return fmt.Sprint("own/", i) }
func same(int) string  { return "all" }

func TestOneSessionHasAShareOfTheSubscriptions(t *testing.T) {
	t.Parallel()
	h := build(t, func(o *mqtt.Options) { o.MQTTSubscriptionBytes = 1 << 20 })
	greedy, modest := h.join(connect{id: "greedy", version: 5}), h.join(connect{id: "modest", version: 5})
	for i := 0; ; i++ {
		if code := greedy.subscribe(0, fmt.Sprint("g/", i))[0]; code != 0 {
			assert.Equal(t, packets.ErrQuotaExceeded.Code, code)
			assert.Greater(t, i, 200)
			break
		}
	}
	assert.Zero(t, modest.subscribe(0, "m")[0])
	greedy.unsubscribe("g/0")
	assert.Zero(t, greedy.subscribe(0, "g/0")[0])
}
