package gateway_test

import (
	"encoding/json"
	"fmt"
	"io"
	nethttp "net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
	"watchtower/config"
	"watchtower/internal/harness"
)

// receives is a server to which callbacks are posted. It knows what each was given, and how often.
type receives struct {
	*httptest.Server
	t      *testing.T
	answer atomic.Int32

	mu     sync.Mutex
	times  map[string]map[string]int // by callback and message
	ids    map[string]string         // webhook-id by callback and message
	faults []string
	gaps   int
}

func newReceives(t *testing.T) *receives {
	p := &receives{t: t, times: map[string]map[string]int{}, ids: map[string]string{}}
	p.answer.Store(200)
	p.Server = httptest.NewServer(nethttp.HandlerFunc(p.take))
	t.Cleanup(func() { p.CloseClientConnections(); p.Close() })
	return p
}

func (p *receives) take(w nethttp.ResponseWriter, req *nethttp.Request) {
	b, err := io.ReadAll(req.Body)
	if status := int(p.answer.Load()); err != nil || status != 200 {
		w.WriteHeader(max(status, 400))
		return
	}
	var m struct{ Type, Message string }
	p.mu.Lock()
	defer p.mu.Unlock()
	to, id := req.URL.Path, req.Header.Get("webhook-id")
	if err := json.Unmarshal(b, &m); err != nil || req.Header.Get("webhook-signature") == "" {
		p.faults = append(p.faults, string(b))
	}
	if m.Type == "gap" {
		p.gaps++
		return
	}
	if p.times[to] == nil {
		p.times[to] = map[string]int{}
	}
	if was := p.ids[to+" "+m.Message]; was != "" && was != id {
		p.faults = append(p.faults, "another webhook-id for "+m.Message)
	}
	p.times[to][m.Message]++
	p.ids[to+" "+m.Message] = id
}

// twice lists what came more than once.
func (p *receives) twice() (list []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for to, messages := range p.times {
		for m, n := range messages {
			if n > 1 {
				list = append(list, fmt.Sprint(to, " ", m, " ", n))
			}
		}
	}
	return list
}

// all waits until each of the callbacks was given each of the messages.
func (p *receives) all(callbacks []string, messages ...string) {
	p.t.Helper()
	missing := ""
	if !assert.Eventually(p.t, func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		missing = ""
		for _, c := range callbacks {
			for _, m := range messages {
				if p.times[c][m] == 0 {
					missing += c + " " + m + "; "
				}
			}
		}
		return missing == ""
	}, lenient, 5*time.Millisecond) {
		require.FailNow(p.t, "missing: "+missing[:min(len(missing), 1000)])
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	require.Empty(p.t, p.faults)
}

// joins makes callbacks for some names at a gateway, and returns their paths.
func (p *receives) joins(r *running, names ...string) (paths []string) {
	for _, name := range names {
		r.joinBy(name, p.URL+"/"+name)
		paths = append(paths, "/"+name)
	}
	return paths
}

func counted(text string, n int) (all []string) {
	for i := range n {
		all = append(all, fmt.Sprint(text, " ", i))
	}
	return all
}

// known waits until a callback is listed at a gateway.
func (r *running) knows(callbacks int, token string) {
	r.t.Helper()
	eventually(r.t, "the callbacks are known", func() bool {
		list, _ := r.callbacks(token, "")
		return len(list) == callbacks
	})
}

// allLeases waits until every lease is held, and returns by whom.
func (r *running) allLeases(token string) (holders map[string]int) {
	r.t.Helper()
	eventually(r.t, "all leases are held", func() bool {
		holders = map[string]int{}
		for _, l := range r.cluster(token).Leases {
			if strings.HasPrefix(l.Name, "cb.") {
				holders[l.Holder]++
			}
		}
		n := 0
		for _, more := range holders {
			n += more
		}
		return n == 64
	})
	return holders
}

// A callback is posted to by one gateway, wherever it was made and wherever something is said, and
// every gateway lists, changes and ends it.
func TestACallbackIsTheSpaces(t *testing.T) {
	t.Parallel()
	servers := harness.StartNATS(t, 1, "")
	a, b := together(t, servers.URL(), "a", withAdmin), together(t, servers.URL(), "b", withAdmin)
	meet(t, a, b)
	atA, atB := a.asAdmin(), b.asAdmin()
	a.allLeases(atA)
	p := newReceives(t)
	names := counted("c", 6)
	for i := range names {
		names[i] = strings.ReplaceAll(names[i], " ", "")
	}
	paths := p.joins(a, names...)
	speaker := b.register("speaker")
	b.follow(fmt.Sprintf("channels=5&sender=%d", speaker.ID), func([]byte) {})
	b.knows(6, atB)
	say := func(r *running, texts ...string) {
		for _, text := range texts {
			r.post("/broadcast", fmt.Sprintf(`{"sender":%d,"channels":[5],"message":%q}`, speaker.ID, text), nil)
		}
	}
	say(b, counted("at b", 20)...)
	eventually(t, "speaker is known at a", func() bool { return a.g.Hub().Known(bridge.SenderID(speaker.ID)) })
	say(a, counted("at a", 20)...)
	p.all(paths, append(counted("at b", 20), counted("at a", 20)...)...)
	assert.Empty(t, p.twice())

	list, _ := a.callbacks(atA, "")
	other, _ := b.callbacks(atB, "")
	for i := range list {
		assert.Equal(t, list[i].Key, other[i].Key)
		assert.Equal(t, list[i].Channels, other[i].Channels)
	}
	b.operate(atB, "POST /operator/callbacks/"+list[0].Key+"/off", "")
	eventually(t, "it is off at a", func() bool { list, _ = a.callbacks(atA, "?state=off"); return len(list) == 1 })
	b.operate(atB, "POST /operator/callbacks/"+list[0].Key+"/on", "")
	eventually(t, "it is on at a", func() bool { list, _ = a.callbacks(atA, "?state=ok"); return len(list) == 6 })

	p.answer.Store(410)
	say(b, "to nobody")
	eventually(t, "all are disabled everywhere", func() bool {
		here, _ := a.callbacks(atA, "?state=disabled")
		there, _ := b.callbacks(atB, "?state=disabled")
		ended := func(c shownCallback) bool { return len(c.Channels) == 0 && strings.Contains(c.Reason, "410") }
		return len(here) == 6 && len(there) == 6 && !slices.ContainsFunc(append(here, there...), func(c shownCallback) bool { return !ended(c) })
	})
	p.answer.Store(200)
	p.joins(b, names...)
	say(b, "again")
	p.all(paths, "again")
	eventually(t, "they are on at a", func() bool { list, _ = a.callbacks(atA, "?state=ok"); return len(list) == 6 })
	for _, c := range list[:3] {
		reg := a.register(c.Name)
		status, answer := a.call("POST", "/channels/leave", "application/json", fmt.Sprintf(`{"sender":%d,"channels":[5]}`, reg.ID))
		require.Less(t, status, 300, answer)
	}
	eventually(t, "those have gone everywhere", func() bool {
		there, _ := b.callbacks(atB, "")
		return len(there) == 3
	})
	say(b, "to three")
	p.all([]string{"/" + list[3].Name, "/" + list[4].Name, "/" + list[5].Name}, "to three")
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range list[:3] {
		assert.Zero(t, p.times["/"+c.Name]["to three"])
	}
}

// A gateway that stops gives its callbacks to another at once, which goes on where it was.
func TestCallbacksMoveAtAStop(t *testing.T) {
	t.Parallel()
	servers := harness.StartNATS(t, 1, "")
	roomy := func(c *config.Config) {
		withAdmin(c)
		c.Callbacks.Queue, c.History.Messages = 10_000, 10_000 // what is said meanwhile waits, and can be had again
	}
	a, b := together(t, servers.URL(), "a", roomy), together(t, servers.URL(), "b", roomy)
	meet(t, a, b)
	atB := b.asAdmin()
	p := newReceives(t)
	paths := p.joins(a, "one", "two", "three", "four", "five", "six")
	b.knows(6, atB)
	b.allLeases(atB)
	speaker := b.register("speaker")
	b.follow(fmt.Sprintf("channels=5&sender=%d", speaker.ID), func([]byte) {})
	said := []string{}
	say := func(text string) {
		said = append(said, text)
		b.post("/broadcast", fmt.Sprintf(`{"sender":%d,"channels":[5],"message":%q}`, speaker.ID, text), nil)
	}
	for _, text := range counted("before", 50) {
		say(text)
	}
	stopped := make(chan struct{})
	go func() { a.stop(); close(stopped) }()
	for i := 0; ; i++ {
		say(fmt.Sprint("meanwhile ", i))
		if !pollOnce(stopped) {
			continue
		}
		break
	}
	begun := time.Now()
	eventually(t, "b has all", func() bool { return b.allLeases(atB)["b"] == 64 })
	assert.Less(t, time.Since(begun), 8*time.Second, "it waits for nothing to run out")
	say("after")
	p.all(paths, said...)
	assert.Empty(t, p.twice())
	assert.Zero(t, p.gaps)
}

func pollOnce(done chan struct{}) bool {
	select {
	case <-done:
		return true
	default:
		return false
	}
}

// A gateway that is killed or frozen loses its callbacks to another, which goes on where it was. What
// was frozen posts nothing more.
func TestCallbacksMoveFromAGatewayThatDies(t *testing.T) {
	t.Parallel()
	servers := harness.StartNATS(t, 1, "")
	victim := newProcess(t)
	victim.args = []string{"--cluster-url", servers.URL(), "--gateway-name", "victim", "--mdns=false", "--allow-callbacks", "127.0.0.1", "--history-messages", "10000"}
	victim.start()
	r := &running{t: t, at: addresses{HTTP: victim.http, MQTT: victim.mqtt}}
	p := newReceives(t)
	paths := p.joins(r, "one", "two", "three", "four", "five", "six")
	b := together(t, servers.URL(), "b", func(c *config.Config) {
		withAdmin(c)
		c.History.Messages = 10_000
	})
	atB := b.asAdmin()
	b.knows(6, atB)
	speaker := b.register("speaker")
	b.follow(fmt.Sprintf("channels=5&sender=%d", speaker.ID), func([]byte) {})
	var said []string
	say := func(text string) {
		said = append(said, text)
		b.post("/broadcast", fmt.Sprintf(`{"sender":%d,"channels":[5],"message":%q}`, speaker.ID, text), nil)
	}
	for _, text := range counted("before", 50) {
		say(text)
	}
	p.all(paths, said...)
	eventually(t, "b knows how far they are", func() bool {
		list, _ := b.callbacks(atB, "")
		return !slices.ContainsFunc(list, func(c shownCallback) bool { return c.LastTaken == nil })
	})
	for name, how := range map[string]syscall.Signal{"frozen": syscall.SIGSTOP, "killed": syscall.SIGKILL} {
		eventually(t, "victim has some", func() bool { return b.allLeases(atB)["victim"] > 0 })
		require.NoError(t, victim.cmd.Process.Signal(how))
		begun := time.Now()
		for i := 0; b.allLeases(atB)["b"] < 64; i++ {
			say(fmt.Sprint(name, " ", i))
			require.Less(t, time.Since(begun), lenient)
			time.Sleep(50 * time.Millisecond)
		}
		t.Logf("%s: b has all after %v", name, time.Since(begun).Round(100*time.Millisecond))
		assert.Less(t, time.Since(begun), 25*time.Second)
		mark := len(said)
		for _, text := range counted(name+" since", 20) {
			say(text)
		}
		p.all(paths, said...)
		if how == syscall.SIGKILL {
			_ = victim.cmd.Wait()
			victim.cmd = nil
			victim.start()
		} else {
			require.NoError(t, victim.cmd.Process.Signal(syscall.SIGCONT))
		}
		eventually(t, "victim is back", func() bool { return b.meets("victim") })
		for _, text := range counted(name+" and back", 20) {
			say(text)
		}
		p.all(paths, said...)
		for _, again := range p.twice() {
			assert.False(t, slices.ContainsFunc(said[mark:], func(text string) bool { return strings.Contains(again, " "+text+" ") }), "%s: a gateway that has no lease posts: %s", name, again)
		}
	}
	assert.Zero(t, p.gaps)
	t.Log("posted twice:", p.twice())
}
