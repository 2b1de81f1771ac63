package gateway_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/internal/harness"
)

// workers are clients of a shared subscription.
type workers struct {
	mu  sync.Mutex
	got map[string]map[string]int // by worker and payload
}

// join has a client at a gateway take part.
func (w *workers) join(r *running, name string, filters ...string) paho.Client {
	r.t.Helper()
	c, err := r.pahoClient(func(o *paho.ClientOptions) {
		o.SetClientID(name).SetCleanSession(!strings.HasPrefix(name, "patient")).SetDefaultPublishHandler(func(_ paho.Client, m paho.Message) {
			w.mu.Lock()
			defer w.mu.Unlock()
			if w.got[name] == nil {
				w.got[name] = map[string]int{}
			}
			w.got[name][string(m.Payload())]++
		})
	})
	require.NoError(r.t, err)
	for _, filter := range filters {
		require.NoError(r.t, wait(c.Subscribe("$share/group/"+filter, 1, nil)))
	}
	return c
}

// of returns how many messages that begin with a text each worker got, and how often each
// message came.
func (w *workers) of(text string) (by, each map[string]int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	by, each = map[string]int{}, map[string]int{}
	for name, got := range w.got {
		for payload, n := range got {
			if strings.HasPrefix(payload, text) {
				by[name] += n
				each[payload] += n
			}
		}
	}
	return by, each
}

// known waits until a gateway hands messages on a topic to so many workers.
func (w *workers) known(r *running, topic string, n int) {
	r.t.Helper()
	c := r.fresh()
	defer c.Disconnect(0)
	probe := 0
	text := fmt.Sprintf("probe %s %s %d ", r.cfg.Gateway.Name, topic, n)
	eventually(r.t, fmt.Sprintf("%d workers at %s", n, r.cfg.Gateway.Name), func() bool {
		probe++
		require.NoError(r.t, wait(c.Publish(topic, 1, false, fmt.Sprint(text, probe))))
		by, _ := w.of(text)
		return len(by) == n
	})
}

// A shared subscription hands each message to one client in all gateways, in turn, wherever it is
// published: on a topic of clients' own, and on a channel.
func TestASharedSubscriptionIsOneForAllGateways(t *testing.T) {
	t.Parallel()
	servers := harness.StartNATS(t, 1, "")
	a, b, c := together(t, servers.URL(), "a", nil), together(t, servers.URL(), "b", nil), together(t, servers.URL(), "c", nil)
	for _, pair := range [][2]*running{{a, b}, {a, c}, {b, c}} {
		meet(t, pair[0], pair[1])
	}
	own, channel := "jobs/+", "watchtower/channels/5/broadcast/+"
	w := &workers{got: map[string]map[string]int{}}
	one := w.join(a, "one", own, channel)
	two := w.join(b, "two", own, channel)
	three := w.join(b, "three", own, channel)
	topics := []string{"jobs/x", "watchtower/channels/5/broadcast"}
	for _, r := range []*running{a, b, c} {
		for _, topic := range topics {
			w.known(r, topic, 3)
		}
	}
	const n = 90
	round := func(r *running, topic string, workers int) {
		t.Helper()
		text := fmt.Sprintf("%s %s %d ", r.cfg.Gateway.Name, topic, workers)
		p := r.fresh()
		defer p.Disconnect(0)
		for i := range n {
			require.NoError(t, wait(p.Publish(topic, 1, false, fmt.Sprint(text, i))))
		}
		eventually(t, "all is done", func() bool { _, each := w.of(text); return len(each) == n })
		by, each := w.of(text)
		for payload, times := range each {
			assert.Equal(t, 1, times, payload)
		}
		assert.Len(t, by, workers)
		for name, some := range by {
			assert.Equal(t, n/workers, some, "%s of %s", name, text)
		}
	}
	for _, r := range []*running{a, b, c} {
		for _, topic := range topics {
			round(r, topic, 3)
		}
	}
	two.Disconnect(0)
	require.NoError(t, wait(three.Unsubscribe("$share/group/"+channel)))
	eventually(t, "they have left", func() bool {
		own, channel := a.g.Hub().Peers(), b.g.Hub().Peers()
		return len(own.Groups("", 9)) == 2 && len(channel.Groups("", 9)) == 1
	})
	w.known(c, "jobs/x", 2)
	round(c, "jobs/x", 2)
	b.stop()
	eventually(t, "b has gone", func() bool { return !c.meets("b") })
	w.known(c, "jobs/x", 1)
	round(c, "jobs/x", 1)
	round(c, topics[1], 1)

	away := w.join(a, "patient", own)
	one.Disconnect(0)
	away.Disconnect(0)
	eventually(t, "the only one is away", func() bool {
		all := a.g.Hub().Peers().Groups("", 9)
		return len(all) == 1 && all[0].Connected == 0 && all[0].Away == 1
	})
	text := "while all are away "
	p := c.fresh()
	defer p.Disconnect(0)
	for i := range n {
		require.NoError(t, wait(p.Publish("jobs/x", 1, false, fmt.Sprint(text, i))))
	}
	w.join(a, "patient")
	eventually(t, "it gets what waited", func() bool { by, _ := w.of(text); return by["patient"] == n })
}
