package cluster_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
	"watchtower/internal/harness"
)

// topicBus is a bus whose clients have topics of their own. It notes what other gateways say on
// these.
type topicBus struct {
	*harness.Loopback
	g *gateway
}

func (b topicBus) InjectTopic(m *bridge.TopicMessage) {
	b.g.mu.Lock()
	defer b.g.mu.Unlock()
	b.g.topics = append(b.g.topics, *m)
}

// saidOn returns what other gateways' clients said since it was last asked.
func (g *gateway) saidOn() (all []bridge.TopicMessage) {
	g.mu.Lock()
	defer g.mu.Unlock()
	all, g.topics = g.topics, nil
	return all
}

func TestTopicsReachEveryGatewayOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire()
		a, b, c := w.start(t, 1), w.start(t, 2), w.start(t, 3)
		time.Sleep(2 * time.Second)
		said := bridge.TopicMessage{
			Topic: "z2m/lamp", Payload: []byte("on"), QoS: 1, Retain: true, Expires: time.Now().Add(time.Minute),
			More: &bridge.TopicProperties{ContentType: "text/plain", User: [][2]string{{"k", "v"}}},
		}
		a.hub.Peers().SayTopic(&said, nil)
		synctest.Wait()
		for _, g := range []*gateway{b, c} {
			assert.Equal(t, []bridge.TopicMessage{said}, g.saidOn())
		}
		assert.Empty(t, a.saidOn())

		w.between(1, 2, true)
		for i := range 200 {
			a.hub.Peers().SayTopic(&bridge.TopicMessage{Topic: "t", Payload: fmt.Append(nil, i)}, nil)
			time.Sleep(10 * time.Millisecond)
		}
		w.between(1, 2, false)
		time.Sleep(3 * time.Second)
		for _, g := range []*gateway{b, c} {
			got := g.saidOn()
			require.Len(t, got, 200)
			for i, m := range got {
				assert.Equal(t, fmt.Sprint(i), string(m.Payload))
			}
			assert.Equal(t, g == b, got[0].Late)
		}
		for _, g := range []*gateway{a, b, c} {
			g.stop()
		}
	})
}
