package gateway_test

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/config"
	"watchtower/internal/harness"
)

var freshClients atomic.Uint64

// fresh connects a client that nobody knows.
func (r *running) fresh() paho.Client {
	r.t.Helper()
	c := paho.NewClient(paho.NewClientOptions().AddBroker("tcp://" + r.at.MQTT).SetClientID(fmt.Sprint("fresh", freshClients.Add(1))).SetUsername("x").SetPassword(key).SetAutoReconnect(false))
	require.NoError(r.t, wait(c.Connect()))
	return c
}

// retainedNow is what a client that subscribes now gets as retained, by topic.
func (r *running) retainedNow(filter string) map[string]string {
	r.t.Helper()
	c := r.fresh()
	defer c.Disconnect(0)
	got := map[string]string{}
	var mu sync.Mutex
	all := make(chan struct{})
	require.NoError(r.t, wait(c.Subscribe(filter, 1, func(_ paho.Client, m paho.Message) {
		mu.Lock()
		defer mu.Unlock()
		if m.Retained() {
			got[m.Topic()] = string(m.Payload())
		}
	})))
	require.NoError(r.t, wait(c.Subscribe("watchtower/me", 1, func(paho.Client, paho.Message) { close(all) })))
	<-all // it comes after them
	mu.Lock()
	defer mu.Unlock()
	return maps.Clone(got)
}

// retains has a fresh client publish a retained message; an empty one removes it.
func (r *running) retainsOn(topic, payload string) {
	r.t.Helper()
	c := r.fresh()
	defer c.Disconnect(0)
	require.NoError(r.t, wait(c.Publish(topic, 1, true, payload)))
}

// differs describes the first differences between two sets of retained messages; empty: none.
func differs(want, got map[string]string) string {
	var all []string
	for topic, payload := range want {
		if got[topic] != payload {
			all = append(all, fmt.Sprintf("%.40q is %.20q, not %.20q", topic, got[topic], payload))
		}
	}
	for topic, payload := range got {
		if _, wanted := want[topic]; !wanted {
			all = append(all, fmt.Sprintf("%.40q is %.20q", topic, payload))
		}
	}
	return strings.Join(all[:min(len(all), 5)], "; ")
}

// allRetain waits until gateways have the same retained messages.
func allRetain(t testing.TB, filter string, want map[string]string, at ...*running) {
	t.Helper()
	for _, r := range at {
		wrong := ""
		if !harness.Within(patient, func() bool {
			wrong = differs(want, r.retainedNow(filter))
			return wrong == ""
		}) {
			require.FailNow(t, "not the same", "at %s: %s", r.cfg.Gateway.Name, wrong)
		}
	}
}

// A retained message is the same document at every gateway, also at one that starts later, when
// its gateway is gone. A removal is one everywhere.
func TestRetainedMessagesAreOneForAllGateways(t *testing.T) {
	t.Parallel()
	servers := harness.StartNATS(t, 1, "")
	a, b := together(t, servers.URL(), "a", nil), together(t, servers.URL(), "b", nil)
	meet(t, a, b)
	long := "own/" + strings.Repeat("é .*>", 10000)
	want := map[string]string{"own/lamp": "on", "own/a.b/c d/>/*//": "odd", "own/": "empty level", long: "long"}
	live := b.mosquittoSub("-t", "own/#")
	for topic, payload := range want {
		a.retainsOn(topic, payload)
	}
	allRetain(t, "own/#", want, a, b)
	a.mosquittoPub("-t", "own/rich", "-m", "{}", "-r", "-q", "1", "-D", "publish", "content-type", "application/json", "-D", "publish", "user-property", "k", "v")
	want["own/rich"] = "{}"
	eventually(t, "all is heard live", func() bool { return len(live.lines()) == len(want) })

	late := together(t, servers.URL(), "late", nil)
	allRetain(t, "own/#", want, late)
	rich := late.mosquittoSub("-t", "own/rich")
	eventually(t, "a late gateway has the properties", func() bool { return rich.has("own/rich {} 1 1 application/json") && rich.has("k:v") })

	late.retainsOn("own/lamp", "")
	b.retainsOn("own/rich", "")
	delete(want, "own/lamp")
	delete(want, "own/rich")
	allRetain(t, "own/#", want, a, b, late)
	a.stop()
	b.stop()
	late.stop()
	allRetain(t, "own/#", want, together(t, servers.URL(), "later", nil))
	last := live.lines()
	assert.Len(t, last, 7, "five values, and two removals: %q", last)
}

// A gateway that was killed comes back with its disk: what was removed or changed meanwhile stays
// so, and what it alone had just been told is everywhere.
func TestAKilledGatewayRevivesNothing(t *testing.T) {
	t.Parallel()
	servers := harness.StartNATS(t, 1, "")
	a := together(t, servers.URL(), "a", nil)
	p := newProcess(t)
	p.args = []string{"--cluster-url", servers.URL(), "--gateway-name", "victim", "--mdns=false"}
	p.start()
	victim := &running{t: t, at: addresses{HTTP: p.http, MQTT: p.mqtt}, cfg: config.Config{Gateway: config.Gateway{Name: "victim"}}}
	eventually(t, "they hear each other", func() bool {
		_, metrics := victim.call("GET", "/metrics", "", "")
		return a.meets("victim") && strings.Contains(metrics, `watchtower_peer_up{gateway="a"} 1`)
	})
	want := map[string]string{}
	for i := range 20 {
		topic := fmt.Sprint("own/", i)
		want[topic] = "old"
		victim.retainsOn(topic, "old")
	}
	allRetain(t, "own/#", want, a, victim)
	eventually(t, "it is on the victim's disk", func() bool {
		disk, err := os.ReadFile(filepath.Join(p.dir, "broker.db"))
		return err == nil && bytes.Contains(disk, []byte("own/19"))
	})
	victim.retainsOn("own/last", "word")
	want["own/last"] = "word" // the others have it live, the servers have not
	allRetain(t, "own/#", want, a)
	require.NoError(t, p.cmd.Process.Signal(syscall.SIGKILL))
	_ = p.cmd.Wait()
	for i := range 10 {
		topic := fmt.Sprint("own/", i)
		delete(want, topic)
		a.retainsOn(topic, "")
	}
	for i := 10; i < 15; i++ {
		topic := fmt.Sprint("own/", i)
		want[topic] = "new"
		a.retainsOn(topic, "new")
	}
	allRetain(t, "own/#", want, a)
	p.start()
	allRetain(t, "own/#", want, victim)
	victim.retainsOn("own/11", "newer")
	want["own/11"] = "newer"
	allRetain(t, "own/#", want, a, victim)
	p.kill()
	p.start()
	allRetain(t, "own/#", want, victim, together(t, servers.URL(), "late", nil))
}

// olderElsewhere has two gateways retain something while they do not hear each other: the one that
// it returns something newer.
func olderElsewhere(t *testing.T) *running {
	servers := harness.StartNATS(t, 1, "")
	cable := harness.NewCable(t, servers.Address(0))
	a, b := together(t, servers.URL(), "a", nil), together(t, "nats://"+cable.Addr(), "b", nil)
	meet(t, a, b)
	cable.Cut()
	a.retainsOn("own/x", "older")
	b.retainsOn("own/x", "newer")
	cable.Mend()
	allRetain(t, "own/#", map[string]string{"own/x": "newer"}, a, b)
	return b
}

// Without NATS servers each gateway retains what it is told. When they are back, the newest is
// everywhere, and so is each removal.
func TestRetainedMessagesWithoutServers(t *testing.T) {
	t.Parallel()
	servers := harness.StartNATS(t, 3, "")
	a, b := together(t, servers.URL(), "a", nil), together(t, servers.URL(), "b", nil)
	meet(t, a, b)
	a.retainsOn("own/both", "first")
	a.retainsOn("own/removed", "first")
	allRetain(t, "own/#", map[string]string{"own/both": "first", "own/removed": "first"}, a, b)

	servers.Kill(0)
	servers.Kill(1)
	eventually(t, "most servers are gone", func() bool { return a.clusterFault() != "" && b.clusterFault() != "" })
	a.retainsOn("own/quorum", "none")
	live := map[string]string{"own/both": "first", "own/removed": "first", "own/quorum": "none"}
	allRetain(t, "own/#", live, a, b)

	servers.Kill(2)
	eventually(t, "they are apart", func() bool { return !a.meets("b") && !b.meets("a") })
	a.retainsOn("own/both", "older")
	b.retainsOn("own/both", "newer")
	b.retainsOn("own/removed", "")
	a.retainsOn("own/a", "alone")
	b.stop()
	for i := range 3 {
		servers.Start(i)
	}
	b = start(t, func(c *config.Config) { c.Cluster.URL, c.DataDir, c.Gateway.Name = servers.URL(), b.cfg.DataDir, "b" })
	want := map[string]string{"own/both": "newer", "own/quorum": "none", "own/a": "alone"}
	allRetain(t, "own/#", want, a, b)
	a.stop()
	b.stop()
	allRetain(t, "own/#", want, together(t, servers.URL(), "late", nil))
}

// The permissions on the page are enough, also for many retained messages.
func TestThePermissionsOfThePageAreEnough(t *testing.T) {
	t.Parallel()
	page := text(t, "docs/cluster.md")
	begin, end := strings.Index(page, "accounts: {"), strings.Index(page, "Give the gateways an account of their own")
	require.Positive(t, begin)
	accounts := strings.Replace(strings.TrimSuffix(strings.TrimSpace(page[begin:end]), "```"), "$WATCHTOWER_PASSWORD", "secret", 1)
	servers := harness.StartNATS(t, 1, accounts)
	url := "nats://watchtower:secret@" + servers.Address(0)
	a := together(t, url, "a", nil)
	c := a.fresh()
	defer c.Disconnect(0)
	want := map[string]string{}
	for i := range 3000 {
		topic := fmt.Sprint("own/", i)
		want[topic] = strings.Repeat("x", 2000)
		require.NoError(t, wait(c.Publish(topic, 1, true, want[topic])))
	}
	eventually(t, "all is well", func() bool { return a.clusterFault() == "" })
	b := together(t, url, "b", nil)
	meet(t, a, b)
	allRetain(t, "own/#", want, b)
	assert.Equal(t, a.register("lamp").ID, b.register("lamp").ID)
	for _, r := range []*running{a, b} {
		eventually(t, "all is well", func() bool { return r.clusterFault() == "" })
		assert.NotContains(t, strings.ToLower(r.log.String()), "permissions violation")
	}
}
