//go:build !race

package gateway_test

import (
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Through kills a second after it, what was exchanged at QoS 2 comes once, in order,
// to a client that is there, and to one that comes back at the end.
func TestQoS2ThroughKills(t *testing.T) {
	t.Parallel()
	s := &siege{process: newProcess(t), t: t}
	s.start()
	var mu sync.Mutex
	got := map[string][]string{}
	receive := func(name string) paho.Client {
		o := s.pahoOptions("to-" + name)
		o.SetDefaultPublishHandler(func(_ paho.Client, m paho.Message) {
			mu.Lock()
			defer mu.Unlock()
			got[name] = append(got[name], fmt.Sprintf("%d %s", m.Qos(), m.Payload()))
		})
		c := paho.NewClient(o)
		require.NoError(t, wait(c.Connect()))
		return c
	}
	have := func(name string) []string {
		mu.Lock()
		defer mu.Unlock()
		return append([]string(nil), got[name]...)
	}
	there, away := receive("there"), receive("away")
	defer there.Disconnect(100)
	for _, c := range []paho.Client{there, away} {
		require.NoError(t, wait(c.Subscribe("exact/#", 2, nil)))
	}
	away.Disconnect(100)
	pub := paho.NewClient(s.pahoOptions("from"))
	require.NoError(t, wait(pub.Connect()))
	defer pub.Disconnect(100)
	var want []string
	for range 3 {
		for range 40 {
			n := strconv.Itoa(len(want))
			require.NoError(t, wait(pub.Publish("exact/x", 2, false, n)))
			want = append(want, "2 "+n)
		}
		eventually(t, "the client that is there has them", func() bool { return len(have("there")) >= len(want) })
		time.Sleep(time.Second) // what is promised to be on disk
		s.kill()
		s.start()
		eventually(t, "both are back", func() bool { return pub.IsConnectionOpen() && there.IsConnectionOpen() })
	}
	defer receive("away").Disconnect(100)
	eventually(t, "what waited comes", func() bool { return len(have("away")) >= len(want) })
	assert.Equal(t, want, have("there"))
	assert.Equal(t, want, have("away"))
}
