package gateway_test

import (
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/config"
	"watchtower/internal/harness"
)

// restarted starts a gateway of a space again, which has stopped.
func (r *running) restarted(url string) *running {
	return together(r.t, url, r.cfg.Gateway.Name, func(c *config.Config) {
		roomy(c)
		c.DataDir = r.cfg.DataDir
	})
}

// roomy has much wait for an MQTT client.
func roomy(c *config.Config) { c.MQTT.SessionQueue = 50_000 }

// hasAll waits until the traveller has heard all that was said.
func (v *traveller) hasAll(what string, said map[string]int64) {
	v.t.Helper()
	eventually(v.t, v.id+" hears all "+what, func() bool {
		v.mu.Lock()
		defer v.mu.Unlock()
		for who, n := range said {
			if v.next[who] < n {
				return false
			}
		}
		return true
	})
}

// silence is how long a client has not heard a speaker who went on speaking.
type silence struct {
	mu      sync.Mutex
	last    map[string]time.Time
	longest map[string]time.Duration
}

func newSilence() *silence {
	return &silence{last: map[string]time.Time{}, longest: map[string]time.Duration{}}
}

// listensFor has a client at a gateway note how long it does not hear each who speaks, until the end.
func (r *running) listensFor(id string) (s *silence, end func()) {
	s = newSilence()
	c := r.visits(id, nil)
	require.NoError(r.t, wait(c.SubscribeMultiple(map[string]byte{"watchtower/channels/5/#": 1, "own/#": 1}, func(_ paho.Client, m paho.Message) { s.hears(m) })))
	return s, func() { c.Disconnect(50) }
}

func (s *silence) hears(m paho.Message) {
	who, _, _ := strings.Cut(string(m.Payload()), " ")
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if was, known := s.last[who]; known {
		s.longest[who] = max(s.longest[who], now.Sub(was))
	}
	s.last[who] = now
}

// isTimed has the traveller note how long it does not hear each who speaks from now on.
func (v *traveller) isTimed() *silence {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.silence = newSilence()
	return v.silence
}

// of is the longest time that one of some speakers, by the end of their names, was not heard.
func (s *silence) of(end string) (longest time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for who, d := range s.longest {
		if strings.HasSuffix(who, end) {
			longest = max(longest, d)
		}
	}
	return longest
}

// areShort checks that nobody was not heard for a second. What clients at gateways that went on have not heard
// of those who speak there is the machine's doing: home tells who these are. A move has several steps, and
// the machine may stand still at each.
func areShort(t *testing.T, all map[string]*silence, home map[string]string) {
	stalled := time.Duration(0)
	for at, end := range home {
		stalled = max(stalled, all[at].of(end))
	}
	for at, s := range all {
		t.Logf("%s has not heard somebody for %v; the machine stood still for %v", at, s.of("").Round(time.Millisecond), stalled.Round(time.Millisecond))
		assert.Less(t, s.of(""), time.Second+3*stalled, at)
		s.mu.Lock()
		assert.Len(t, s.last, 4, "it hears all who speak")
		s.mu.Unlock()
	}
}

// The NATS servers and the gateways of a space are stopped and started again, one after the other, while others speak.
// What waits for a client that is away is there at once, in order, at any other gateway; and a client
// that is there goes on at another.
func TestSessionsOutliveARollingRestart(t *testing.T) {
	t.Parallel()
	servers := harness.StartNATS(t, 3, "")
	var all []*running
	for _, name := range []string{"a", "b", "c"} {
		all = append(all, together(t, servers.URL(), name, roomy))
	}
	meetAll(t, all)
	away, stays := &traveller{t: t, id: "away", next: map[string]int64{}}, &traveller{t: t, id: "stays", next: map[string]int64{}}
	for _, v := range []*traveller{away, stays} {
		v.goesTo(all[0], true)
		require.NoError(t, wait(v.now.SubscribeMultiple(map[string]byte{"watchtower/channels/5/#": 1, "own/#": 1}, nil)))
	}
	said := map[string]int64{}
	for i, r := range all {
		one, other := all[(i+1)%3], all[(i+2)%3]
		assert.True(t, away.goesTo(r, true) && stays.goesTo(r, true))
		away.now.Disconnect(50)
		ends := map[string]func() int64{}
		for n, at := range []*running{one, other} {
			for on, topic := range map[string]string{"channel": "watchtower/channels/5/broadcast", "topic": "own/x"} {
				who := fmt.Sprintf("%s%d.%d", on, i, n)
				ends[who] = at.says(who, topic, 5*time.Millisecond)
			}
		}
		quiet := map[string]*silence{"the client that moves": stays.isTimed()}
		var leave []func()
		for _, at := range []*running{one, other} {
			s, end := at.listensFor("ear-" + at.cfg.Gateway.Name)
			quiet["a client at "+at.cfg.Gateway.Name], leave = s, append(leave, end)
		}
		enough := map[string]int64{}
		for who := range ends {
			enough[who] = 50
		}
		servers.Stop(i)
		servers.Start(i)
		servers.Listens(i)
		stays.hasAll("that waits for the other", enough)
		stopped := make(chan struct{})
		go func() { r.stop(); close(stopped) }()
		stays.now.isOver(t)
		begun := time.Now()
		assert.True(t, stays.goesTo(one, true), "its session is there")
		<-stopped
		t.Logf("%s has stopped after %v", r.cfg.Gateway.Name, time.Since(begun).Round(time.Millisecond))
		if i == 1 { // else it comes when its gateway is back
			assert.True(t, away.goesTo(other, true))
			away.now.Disconnect(50)
		}
		all[i] = r.restarted(servers.URL())
		assert.Zero(t, all[i].g.MQTTStats().Sessions, "the others have them")
		meetAll(t, all)
		areShort(t, quiet, map[string]string{"a client at " + one.cfg.Gateway.Name: ".0", "a client at " + other.cfg.Gateway.Name: ".1"})
		for who, end := range ends {
			said[who] = end()
		}
		for _, end := range leave {
			end()
		}
		assert.True(t, away.goesTo(all[i], true))
		away.hasAll("it has missed", maps.Clone(said))
		stays.hasAll("meanwhile", said)
	}
	t.Logf("twice with DUP and without: away %d, %d; stays %d, %d", away.dups, away.more, stays.dups, stays.more)
	assert.Zero(t, away.more)
	assert.Zero(t, stays.more)
	away.now.Disconnect(50)
	stays.now.Disconnect(50)
}
