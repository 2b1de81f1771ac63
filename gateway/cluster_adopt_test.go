package gateway_test

import (
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	client "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/config"
	"watchtower/internal/harness"
	"watchtower/mqtt"
)

// A gateway is killed. Another adopts the sessions of its clients: those that come back find them,
// with what was said meanwhile, and those that do not are said to be dead, once.
func TestSessionsOfAGatewayThatWasKilled(t *testing.T) {
	t.Parallel()
	servers := harness.StartNATS(t, 1, "")
	quick := func(c *config.Config) { c.MQTT.WillGrace = 4 * time.Second }
	a, b := together(t, servers.URL(), "a", quick), together(t, servers.URL(), "b", quick)
	meet(t, a, b)
	p := newProcess(t)
	p.args = []string{"--cluster-url", servers.URL(), "--gateway-name", "victim", "--mdns=false", "--mqtt-will-grace", "8s"}
	p.start()
	for _, r := range []*running{a, b} {
		eventually(t, "the victim is heard", func() bool { return r.meets("victim") })
	}
	victim := &running{t: t, at: addresses{HTTP: p.http, MQTT: p.mqtt}}
	var mu sync.Mutex
	dead := map[string]int{}
	watcher := a.visits("watcher", nil)
	require.NoError(t, wait(watcher.Subscribe("state/+", 1, func(_ paho.Client, m paho.Message) {
		mu.Lock()
		defer mu.Unlock()
		dead[m.Topic()]++
	})))
	died := func(id string) int {
		mu.Lock()
		defer mu.Unlock()
		return dead["state/"+id]
	}
	withSession := func(id string) func(*paho.ClientOptions) {
		return func(o *paho.ClientOptions) { o.SetCleanSession(false).SetWill("state/"+id, "dead", 1, true) }
	}
	for _, id := range []string{"back", "lost"} {
		c := victim.visits(id, withSession(id))
		require.NoError(t, wait(c.Subscribe("watchtower/channels/5/#", 1, nil)))
	}
	away := victim.visits("away", withSession("away"))
	require.NoError(t, wait(away.SubscribeMultiple(map[string]byte{"watchtower/channels/5/#": 1, "own/#": 1}, nil)))
	away.Disconnect(100)
	victim.visits("short", func(o *paho.ClientOptions) { o.SetWill("state/short", "dead", 1, true) })
	speaker := a.visits("speaker", nil)
	say := func(from, to int) {
		for i := from; i < to; i++ {
			require.NoError(t, wait(speaker.Publish("watchtower/channels/5/broadcast", 1, false, fmt.Sprint("speaker ", i))))
		}
	}
	say(0, 20)
	eventually(t, "the space has the sessions", func() bool { return sessionsKept(t, servers.URL()) >= 4 })
	require.NoError(t, p.cmd.Process.Signal(syscall.SIGKILL))
	_ = p.cmd.Wait()
	say(20, 40)
	eventually(t, "they are adopted", func() bool { return a.g.MQTTStats().Sessions+b.g.MQTTStats().Sessions == 2+4 }) // the watcher, the speaker
	assert.Equal(t, mqtt.Moved{Adopted: 4}, movedAmong([]*running{a, b}))

	for i, id := range []string{"back", "away"} { // the first in good time: later it would be dead, too
		v := &traveller{t: t, id: id, next: map[string]int64{}}
		if id == "back" {
			v.next["speaker"] = -1 // what it has heard before its gateway was killed may come again
		}
		assert.True(t, v.goesTo([]*running{a, b}[i], true), id)
		if i == 0 {
			say(40, 60)
		}
		eventually(t, id+" hears all", func() bool { v.mu.Lock(); defer v.mu.Unlock(); return v.next["speaker"] == 60 })
		v.now.Disconnect(100)
	}
	eventually(t, "who does not come back is dead", func() bool { return died("lost") == 1 && died("short") == 1 })

	p.start()
	eventually(t, "the victim is back", func() bool { return a.meets("victim") })
	assert.Never(t, func() bool { return died("back")+died("away") > 0 || died("lost") > 1 || died("short") > 1 }, 6*time.Second, 50*time.Millisecond, "once is enough")
	mu.Lock()
	defer mu.Unlock()
	t.Log(dead)
}

// sessionsKept counts the sessions that a space keeps.
func sessionsKept(t *testing.T, url string) int {
	conn, err := client.Connect(url)
	require.NoError(t, err)
	defer conn.Close()
	js, err := jetstream.New(conn)
	require.NoError(t, err)
	kv, err := js.KeyValue(t.Context(), "WT_home_SESSIONS")
	if err != nil {
		return 0
	}
	keys, err := kv.Keys(t.Context())
	if err != nil {
		return 0
	}
	return len(keys)
}
