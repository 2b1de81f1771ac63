package gateway_test

import (
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/internal/harness"
)

// While gateways do not hear each other, an MQTT client id may be connected at both. Afterwards the newer
// connection stays, and the older one ends within seconds.
func TestTheNewerStaysAfterAnOutage(t *testing.T) {
	t.Parallel()
	servers := harness.StartNATS(t, 1, "")
	cable := harness.NewCable(t, servers.Address(0))
	a, b := together(t, servers.URL(), "a", nil), together(t, "nats://"+cable.Addr(), "b", nil)
	meet(t, a, b)
	restart := func() {
		servers.Start(0)
		servers.Listens(0)
	}
	lasting := func(o *paho.ClientOptions) { o.SetCleanSession(false) }
	older := a.visits("mover", lasting)
	for _, outage := range []struct {
		what       string
		begin, end func()
		long       bool // until both count as gone
	}{
		{"a server is killed", func() { servers.Kill(0) }, restart, true},
		{"b's cable is frozen for a moment", cable.Freeze, cable.Mend, false},
		{"a server is killed for a moment", func() { servers.Kill(0) }, restart, false},
		{"b is cut off", cable.Cut, cable.Mend, true},
		{"b is cut off for a moment", cable.Cut, cable.Mend, false},
		{"b's cable is frozen", cable.Freeze, cable.Mend, true},
	}[:outages] {
		first := b.visits("mover", lasting) // both know it
		older.isOver(t)
		older = a.visits("mover", lasting)
		first.isOver(t)
		outage.begin()
		if outage.long {
			eventually(t, "they are apart", func() bool { return !a.meets("b") && !b.meets("a") })
		}
		newer := b.visits("mover", lasting)
		outage.end()
		meet(t, a, b)
		healed := time.Now()
		older.isOver(t)
		t.Logf("%s: the older ended after %v", outage.what, time.Since(healed).Round(time.Millisecond))
		require.NoError(t, wait(newer.Publish("own/x", 1, false, "x")), outage.what)
		eventually(t, "there is one session", func() bool { return a.g.MQTTStats().Sessions+b.g.MQTTStats().Sessions == 1 })
		assert.True(t, newer.IsConnectionOpen(), outage.what)
		older = newer
	}
}
