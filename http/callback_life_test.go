package http_test

import (
	"fmt"
	"maps"
	nethttp "net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
	"watchtower/callback"
	"watchtower/internal/harness"
)

// rows is a callback.Store in memory, which outlives gateways.
type rows struct {
	mu      sync.Mutex
	all     map[string][]byte
	broken  error
	commits int
}

func (s *rows) Load(each func(string, []byte) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, key := range slices.Sorted(maps.Keys(s.all)) {
		if err := each(key, slices.Clone(s.all[key])); err != nil {
			return err
		}
	}
	return nil
}

func (s *rows) Commit(changes map[string][]byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken != nil {
		return s.broken
	}
	s.commits++
	if s.all == nil {
		s.all = map[string][]byte{}
	}
	for key, value := range changes {
		if value == nil {
			delete(s.all, key)
		} else {
			s.all[key] = slices.Clone(value)
		}
	}
	return nil
}

func (s *rows) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken = err
}

func (s *rows) count() (n, commits int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.all), s.commits
}

// callbacks lists a sender's callbacks.
func (g *gateway) callbacks(id uint32, token string) (list []obj) {
	g.t.Helper()
	var headers []string
	if token != "" {
		headers = []string{"Authorization", "Bearer " + token}
	}
	a := g.do("GET", fmt.Sprintf("/callbacks?sender=%d", id), "", headers...)
	require.Equal(g.t, 200, a.status, a.body)
	for _, c := range a.json(g.t)["callbacks"].([]any) {
		list = append(list, c.(obj))
	}
	return list
}

// failedIDs returns the ids of a callback's failed deliveries.
func failedIDs(c obj) (ids []string) {
	for _, f := range c["failed"].([]any) {
		ids = append(ids, f.(obj)["id"].(string))
	}
	return ids
}

func TestCallbacksAreListed(t *testing.T) {
	t.Parallel()
	g := start(t, func(_ *bridge.Options, o *options) { o.Callbacks.Retries = 1 })
	var failing atomic.Bool
	r := receive(t, func(w nethttp.ResponseWriter, _ string) {
		if failing.Load() {
			w.WriteHeader(503)
		}
	})
	id, token := g.register()
	assert.Empty(t, g.callbacks(id, token))
	g.join(id, r.URL+"/secret?key=1", 6, 5)
	g.say(id, "good", 5)
	r.next(t)
	harness.Eventually(t, func() bool { return g.callbacks(id, token)[0]["last_delivered_at"] != nil }, "it is noted")
	c := g.callbacks(id, token)[0]
	delete(c, "last_delivered_at")
	assert.Equal(t, obj{"callback_url": r.URL + "/secret?key=1", "channels": []any{5.0, 6.0}, "state": "ok", "waiting": 0.0, "failed": []any{}}, c)
	assert.Equal(t, r.URL+"/…", g.callbacks(id, "")[0]["callback_url"], "the id alone does not show what may be a secret")

	failing.Store(true)
	first, second := g.say(id, "1", 5), g.say(id, "2", 6)
	harness.Eventually(t, func() bool { return len(failedIDs(g.callbacks(id, token)[0])) == 2 }, "both are given up")
	c = g.callbacks(id, token)[0]
	assert.Equal(t, "failing", c["state"])
	assert.Equal(t, "answered 503", c["last_error"].(obj)["detail"])
	assert.NotEmpty(t, c["failing_since"])
	assert.Equal(t, []string{first + "-5", second + "-6"}, failedIDs(c))
	assert.Equal(t, "answered 503", c["failed"].([]any)[0].(obj)["detail"])

	call := obj{"sender": id, "callback_url": r.URL + "/secret?key=1"}
	problem(t, g.post("/callbacks/replay", obj{"sender": id, "callback_url": r.URL}), 400, "invalid-callback-url", "callback_url")
	problem(t, g.post("/callbacks/replay", obj{"sender": id, "callback_url": r.URL + "/secret?key=1", "ids": []string{first + "-5", "x"}}), 400, "invalid-field", "ids[1]")
	problem(t, g.post("/callbacks/replay", obj{"sender": id, "callback_url": r.URL + "/secret?key=1", "ids": []string{}}), 400, "invalid-field", "ids")
	problem(t, g.post("/callbacks/replay", obj{"sender": 9, "callback_url": r.URL}), 401, "invalid-sender", "sender")
	failing.Store(false)
	for len(r.got) > 0 {
		<-r.got
	}
	a := g.post("/callbacks/replay", obj{"sender": id, "callback_url": r.URL + "/secret?key=1", "ids": []string{second + "-6"}})
	assert.Equal(t, `{"replayed":1}`, strings.TrimSpace(a.body))
	assert.Equal(t, second+"-6", r.next(t).header.Get("webhook-id"), "the same id as before")
	assert.Equal(t, `{"replayed":1}`, strings.TrimSpace(g.post("/callbacks/replay", call).body))
	assert.Equal(t, "1", r.next(t).json(t)["message"])
	harness.Eventually(t, func() bool { return g.callbacks(id, token)[0]["state"] == "ok" }, "it works again")
	assert.Empty(t, failedIDs(g.callbacks(id, token)[0]))
	for _, row := range []string{`outcome="delivered"} 3`, `outcome="failed"} 2`, `outcome="retried"} 2`, `outcome="disabled"} 0`} {
		row = "watchtower_callbacks_total{" + row
		harness.Eventually(t, func() bool { return strings.Contains(g.do("GET", "/metrics", "").body, row) }, row)
	}

	require.Equal(t, 200, g.post("/channels/leave", obj{"sender": id, "channels": []int{5, 6}}).status)
	assert.Empty(t, g.callbacks(id, token))
}

func TestACallbackThatFailsForLongIsDisabled(t *testing.T) {
	t.Parallel()
	store, senders := &rows{}, &memory{}
	c := &clock{}
	with := func(b *bridge.Options, o *options) {
		b.Store, b.Now = senders, c.now
		o.Callbacks.Store, o.Callbacks.Retries, o.Callbacks.DisableAfter = store, 0, time.Hour
	}
	g := start(t, with)
	var failing atomic.Bool
	failing.Store(true)
	r := receive(t, func(w nethttp.ResponseWriter, _ string) {
		if failing.Load() {
			w.WriteHeader(500)
		}
	})
	id, token := g.register()
	g.join(id, r.URL, 5)
	g.say(id, "1", 5)
	harness.Eventually(t, func() bool { return len(failedIDs(g.callbacks(id, token)[0])) == 1 }, "it is given up")
	c.ns.Add(int64(time.Hour))
	g.say(id, "2", 5)
	harness.Eventually(t, func() bool { return len(failedIDs(g.callbacks(id, token)[0])) == 2 }, "exactly an hour is not over it")
	assert.Equal(t, "failing", g.callbacks(id, token)[0]["state"])
	c.ns.Add(int64(time.Second))
	g.say(id, "3", 5)
	harness.Eventually(t, func() bool { n, _ := g.hub.Directory().Counts(); return n[callback.Protocol] == 0 }, "it has left")
	g.stop()

	g = start(t, with)
	list := g.callbacks(id, token)
	require.Len(t, list, 1, "the reason is there after a restart")
	assert.Equal(t, "disabled", list[0]["state"])
	assert.Contains(t, list[0]["reason"], "every attempt has failed since ")
	assert.Len(t, failedIDs(list[0]), 3)
	replay := obj{"sender": id, "callback_url": r.URL}
	problem(t, g.post("/callbacks/replay", replay), 400, "invalid-callback-url", "callback_url")
	failing.Store(false)
	for len(r.got) > 0 {
		<-r.got
	}
	g.join(id, r.URL, 5)
	assert.Equal(t, "ok", g.callbacks(id, token)[0]["state"])
	assert.Equal(t, `{"replayed":3}`, strings.TrimSpace(g.post("/callbacks/replay", replay).body))
	for _, want := range []string{"1", "2", "3"} {
		assert.Equal(t, want, r.next(t).json(t)["message"])
	}
}

// Waiting deliveries survive a restart, in order, up to their bound; done ones are not
// repeated.
func TestWhatWaitsSurvivesARestart(t *testing.T) {
	t.Parallel()
	store, senders := &rows{}, &memory{}
	with := func(b *bridge.Options, o *options) {
		b.Store = senders
		o.Callbacks.Store, o.Callbacks.SaveInterval = store, time.Millisecond
		o.Callbacks.Queue, o.Callbacks.RetryGap, o.DrainTimeout = 5, time.Hour, 10*time.Millisecond
	}
	g := start(t, with)
	var failing atomic.Bool
	r := receive(t, func(w nethttp.ResponseWriter, _ string) {
		if failing.Load() {
			w.WriteHeader(500)
		}
	})
	id, token := g.register()
	g.join(id, r.URL, 5, 6)
	for i := range 20 {
		g.say(id, fmt.Sprint(i), 5)
		r.next(t)
	}
	failing.Store(true)
	g.say(id, "0", 5)
	r.next(t) // it is under way, and the others wait
	for i := range 7 {
		g.say(id, fmt.Sprint(1+i), 5+i%2)
	}
	harness.Eventually(t, func() bool { return g.undelivered(bridge.QueueFull) == 2 }, "the sixth and seventh")
	harness.Eventually(t, func() bool { n, _ := store.count(); return n == 1+6 }, "they are on disk before the stop")
	g.stop()
	assert.Zero(t, g.undelivered(bridge.Failed), "nothing has failed for good")

	failing.Store(false)
	g = start(t, with)
	for i := range 6 {
		assert.Equal(t, fmt.Sprint(i), r.next(t).json(t)["message"])
	}
	harness.Eventually(t, func() bool { n, _ := store.count(); return n == 1 }, "nothing is left on disk but what failed last")
	_, commits := store.count()
	for i := range 10 {
		g.say(id, fmt.Sprint(i), 5)
		r.next(t)
	}
	failing.Store(true)
	g.say(id, "for nobody", 6)
	r.next(t)
	harness.Eventually(t, func() bool { n, _ := store.count(); return n == 2 }, "it waits on disk")
	_, after := store.count()
	assert.Less(t, after-commits, 25, "what is delivered at once need not be written")
	g.stop()
	senders.forget() // as if the sender had been deleted by another file's state
	g = start(t, with)
	harness.Eventually(t, func() bool { n, _ := store.count(); return n == 0 }, "what belongs to nobody goes")
	assert.NotEmpty(t, token)
}

func TestURLsOfASenderAreBounded(t *testing.T) {
	t.Parallel()
	g := start(t, func(_ *bridge.Options, o *options) { o.Callbacks.SenderCallbacks = 2 })
	id, token := g.register()
	join := func(n int) answer {
		return g.post("/channels/join/async", obj{"sender": id, "channels": []int{n}, "callback_url": fmt.Sprintf("http://127.0.0.1:9/%d", n)})
	}
	require.Equal(t, 200, join(1).status)
	require.Equal(t, 200, join(2).status)
	problem(t, join(3), 400, "too-many-callbacks", "callback_url")
	require.Equal(t, 200, join(2).status, "the same again")
	require.Equal(t, 200, g.post("/channels/leave", obj{"sender": id, "channels": []int{1}}).status)
	require.Equal(t, 200, join(3).status, "there is room again")
	problem(t, join(4), 400, "too-many-callbacks", "callback_url")
	for _, n := range []int{2, 3} {
		require.Equal(t, 200, g.post("/callbacks/rotate", obj{"sender": id, "callback_url": fmt.Sprintf("http://127.0.0.1:9/%d", n)}, "Authorization", "Bearer "+token).status)
	}
	require.Equal(t, 200, g.post("/channels/leave", obj{"sender": id, "channels": []int{2}}).status)
	require.Equal(t, 200, join(4).status, "one that was left makes room, though its secret is remembered")
	assert.Len(t, g.callbacks(id, token), 2)
}

// A callback that leaves and joins again at once gets nothing old, and loses nothing new.
func TestRejoiningBetweenTwoWrites(t *testing.T) {
	t.Parallel()
	store, senders := &rows{}, &memory{}
	with := func(b *bridge.Options, o *options) {
		b.Store = senders
		o.Callbacks.Store, o.Callbacks.SaveInterval, o.Callbacks.RetryGap = store, 20*time.Millisecond, time.Hour
	}
	g := start(t, with)
	var failing atomic.Bool
	failing.Store(true)
	r := receive(t, func(w nethttp.ResponseWriter, _ string) {
		if failing.Load() {
			w.WriteHeader(503)
		}
	})
	id, _ := g.register()
	for round := range 30 {
		g.join(id, r.URL, 5)
		g.say(id, fmt.Sprint("gone ", round), 5)
		r.next(t)
		if round%3 > 0 {
			harness.Eventually(t, func() bool { n, _ := store.count(); return n >= 2 }, "it is on disk")
		}
		require.Equal(t, 200, g.post("/channels/leave", obj{"sender": id, "channels": []int{5}}).status)
	}
	g.join(id, r.URL, 5)
	g.say(id, "kept", 5)
	r.next(t)
	g.stop()
	n, _ := store.count()
	assert.Equal(t, 2, n, "a callback and what waits for it")
	failing.Store(false)
	g = start(t, with)
	assert.Equal(t, "kept", r.next(t).json(t)["message"])
	harness.Eventually(t, func() bool { return g.callbacks(id, "")[0]["state"] == "ok" }, "")
	assert.Empty(t, r.got)
}

// A receiver that is down does not delay the stop: its deliveries are on disk.
func TestAStopDoesNotWaitForAReceiverThatIsDown(t *testing.T) {
	t.Parallel()
	store, senders := &rows{}, &memory{}
	g := start(t, func(b *bridge.Options, o *options) {
		b.Store, o.Callbacks.Store, o.Callbacks.RetryGap, o.DrainTimeout = senders, store, time.Hour, time.Minute
	})
	r := receive(t, func(w nethttp.ResponseWriter, _ string) { w.WriteHeader(503) })
	id, _ := g.register()
	g.join(id, r.URL, 5)
	g.say(id, "x", 5)
	r.next(t)
	began := time.Now()
	g.stop()
	assert.Less(t, time.Since(began), 10*time.Second)
	n, _ := store.count()
	assert.Equal(t, 2, n)
}
