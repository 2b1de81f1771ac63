package http_test

import (
	"fmt"
	"net"
	nethttp "net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
	"watchtower/http"
	"watchtower/internal/harness"
)

// join makes url the callback of a sender on channels.
func (g *gateway) join(id uint32, url string, channels ...int) {
	g.t.Helper()
	a := g.post("/channels/join/async", obj{"sender": id, "channels": channels, "callback_url": url})
	require.Equal(g.t, 200, a.status, a.body)
}

func (g *gateway) broadcast(id uint32, message any, channels ...int) answer {
	g.t.Helper()
	a := g.post("/broadcast", obj{"sender": id, "channels": channels, "message": message})
	require.Equal(g.t, 200, a.status, a.body)
	return a
}

func TestCallback(t *testing.T) {
	t.Parallel()
	g := start(t)
	r := receive(t, nil)
	id, _ := g.register("name", "lamp")
	a := g.post("/channels/join/async", obj{"sender": id, "channels": []int{9, 5, 9}, "callback_url": r.URL + "/a?b=c"})
	require.Equal(t, 200, a.status, a.body)
	assert.Equal(t, []any{5.0, 9.0}, a.json(t)["channels"])
	f := g.follow(fmt.Sprintf("channels=5&sender=%d", id))
	g.broadcast(id, "<hello>", 5)
	p := r.next(t)
	assert.False(t, strings.HasSuffix(p.body, "\n"))
	assert.Equal(t, "application/json", p.header.Get("Content-Type"))
	assert.Equal(t, "watchtower", p.header.Get("User-Agent"))
	assert.Equal(t, "1", p.header.Get("Watchtower-Hops"))
	f.line()
	assert.Equal(t, f.line(), p.body, "the same as on a stream")
}

func TestCallbackWithoutEcho(t *testing.T) {
	t.Parallel()
	g := start(t)
	r := receive(t, nil)
	a, _ := g.register()
	b, _ := g.register()
	require.Equal(t, 200, g.post("/channels/join/async", obj{"sender": a, "channels": []int{5}, "callback_url": r.URL, "echo": false}).status)
	g.join(b, r.URL+"/b", 5)
	g.broadcast(a, "mine", 5)
	assert.Equal(t, "mine", r.next(t).json(t)["message"])
	g.broadcast(b, "theirs", 5)
	for range 2 {
		assert.Equal(t, "theirs", r.next(t).json(t)["message"])
	}
}

func TestACallbackCatchesUp(t *testing.T) {
	t.Parallel()
	g := start(t)
	holds, down := make(chan struct{}, 1), make(chan struct{})
	r := receive(t, func(w nethttp.ResponseWriter, body string) {
		if strings.Contains(body, `"held"`) {
			select {
			case holds <- struct{}{}:
			default:
			}
			<-down
		}
	})
	a, _ := g.register()
	b, _ := g.register()
	defer g.follow(fmt.Sprintf("channels=5&sender=%d", b)).close()
	first := g.say(b, "1", 5)
	g.say(b, "2", 5)
	harness.Eventually(t, func() bool { return g.idle() }, "it is in the history")
	join := obj{"sender": a, "channels": []int{5}, "callback_url": r.URL, "since": first}
	require.Equal(t, 200, g.post("/channels/join/async", join).status)
	g.say(b, "held", 5)
	g.say(b, "3", 5)
	g.say(a, "mine", 5)
	harness.Eventually(t, func() bool { return g.idle() }, "they wait for the receiver")
	<-holds // so the delivery before it is done
	// Join again: waiting messages come once, delivered ones come again.
	require.Equal(t, 200, g.post("/channels/join/async", join).status)
	join["since"] = "01J00000000000000000000000"
	join["channels"] = []int{5, 6}
	join["echo"] = false
	close(down)
	var got []string
	for range 5 {
		got = append(got, fmt.Sprint(r.next(t).json(t)["message"]))
	}
	assert.Equal(t, []string{"2", "held", "3", "mine", "2"}, got)
	require.Equal(t, 200, g.post("/channels/join/async", join).status)
	got = nil
	for range 6 {
		m := r.next(t)
		text := m.json(t)
		assert.NotEmpty(t, m.header.Get("webhook-id"))
		got = append(got, fmt.Sprint(text["type"], text["channel"], text["message"]))
	}
	assert.Equal(t, []string{"gap5 <nil>", "gap6 <nil>", "broadcast51", "broadcast52", "broadcast5held", "broadcast53"}, got, "and not one's own")
	join["since"] = "yesterday"
	problem(t, g.post("/channels/join/async", join), 400, "invalid-field", "since")
}

// Missed messages that do not fit into the queue leave a gap message.
func TestACallbackThatMissedTooMuch(t *testing.T) {
	t.Parallel()
	g := start(t, func(_ *bridge.Options, o *options) { o.Callbacks.Queue = 5 })
	r := receive(t, nil)
	a, _ := g.register()
	b, _ := g.register()
	defer g.follow(fmt.Sprintf("channels=5,6&sender=%d", b)).close()
	for i := range 10 {
		g.say(b, fmt.Sprint(i), 5+i%2)
	}
	harness.Eventually(t, g.idle, "they are in the history")
	require.Equal(t, 200, g.post("/channels/join/async", obj{"sender": a, "channels": []int{5, 6}, "callback_url": r.URL, "since": "all"}).status)
	var got []string
	for range 5 {
		text := r.next(t).json(t)
		got = append(got, fmt.Sprint(text["type"], text["channel"], text["message"]))
	}
	assert.Equal(t, []string{"gap5 <nil>", "gap6 <nil>", "broadcast67", "broadcast58", "broadcast69"}, got)
	assert.Equal(t, 7, g.undelivered(bridge.QueueFull))
}

func TestLaterJoinReplacesTheURL(t *testing.T) {
	t.Parallel()
	g := start(t)
	first, second := receive(t, nil), receive(t, nil)
	id, _ := g.register()
	g.join(id, first.URL, 5, 6)
	g.join(id, second.URL, 6, 7)
	g.broadcast(id, "x", 5, 6, 7)
	assert.EqualValues(t, 5, first.next(t).json(t)["channel"])
	assert.EqualValues(t, 6, second.next(t).json(t)["channel"])
	assert.EqualValues(t, 7, second.next(t).json(t)["channel"])
	assert.Empty(t, first.got)
}

func TestOrderUnderRetries(t *testing.T) {
	t.Parallel()
	g := start(t)
	var n atomic.Int64
	r := receive(t, func(w nethttp.ResponseWriter, _ string) {
		if n.Add(1)%3 != 0 {
			w.WriteHeader(503)
		}
	})
	id, _ := g.register()
	g.join(id, r.URL, 5)
	const messages = 50
	for i := range messages {
		g.broadcast(id, i, 5)
	}
	for i := range messages {
		for range 3 {
			assert.EqualValues(t, i, r.next(t).json(t)["message"])
		}
	}
	assert.Zero(t, g.undelivered(bridge.Failed))
}

func TestFailuresAndRedirects(t *testing.T) {
	t.Parallel()
	g := start(t, func(_ *bridge.Options, o *options) { o.Callbacks.Retries = 3 })
	elsewhere := receive(t, nil)
	for _, status := range []int{301, 302, 307, 308, 304, 400, 500} {
		r := receive(t, func(w nethttp.ResponseWriter, _ string) {
			w.Header().Set("Location", elsewhere.URL)
			w.WriteHeader(status)
		})
		id, _ := g.register()
		g.join(id, r.URL, status)
		before := g.undelivered(bridge.Failed)
		g.broadcast(id, "x", status)
		for range 4 {
			r.next(t)
		}
		harness.Eventually(t, func() bool { return g.undelivered(bridge.Failed) == before+1 }, "four attempts, then it is dropped")
		assert.Empty(t, r.got)
	}
	assert.Empty(t, elsewhere.got, "redirects are not followed")
}

func TestCallbackThatNeverAnswers(t *testing.T) {
	t.Parallel()
	g := start(t, func(_ *bridge.Options, o *options) {
		o.Callbacks.Queue, o.Callbacks.Timeout, o.Callbacks.Retries = 1, time.Second, 0
	})
	hole, err := net.Listen("tcp", "127.0.0.1:0") // accepts connections and never answers
	require.NoError(t, err)
	defer hole.Close()
	good := receive(t, nil)
	a, _ := g.register()
	b, _ := g.register()
	g.join(a, "http://"+hole.Addr().String(), 5)
	g.join(b, good.URL, 5)
	for i := range 10 {
		g.broadcast(b, i, 5)
		assert.EqualValues(t, i, good.next(t).json(t)["message"])
	}
	harness.Eventually(t, func() bool { return g.undelivered(bridge.QueueFull)+g.undelivered(bridge.Failed) == 10 }, "all are counted")
}

func TestLeavingDiscardsWhatWaits(t *testing.T) {
	t.Parallel()
	for name, leave := range map[string]func(*gateway, uint32){
		"leave": func(g *gateway, id uint32) {
			require.Equal(t, 200, g.post("/channels/leave", obj{"sender": id, "channels": []int{5}}).status)
		},
		"delete": func(g *gateway, id uint32) {
			require.Equal(t, 204, g.do("DELETE", fmt.Sprintf("/senders/%d", id), "").status)
		},
		"replace": func(g *gateway, id uint32) { g.join(id, "http://127.0.0.1:1/", 5) },
	} {
		t.Run(name, func(t *testing.T) {
			g := start(t, func(_ *bridge.Options, o *options) { o.Callbacks.RetryGap = time.Hour })
			r := receive(t, func(w nethttp.ResponseWriter, _ string) { w.WriteHeader(500) })
			id, _ := g.register()
			g.join(id, r.URL, 5)
			for i := range 10 {
				g.broadcast(id, i, 5)
			}
			r.next(t)
			harness.Eventually(t, g.idle, "the fan-out is done")
			leave(g, id)
			harness.Eventually(t, func() bool { return g.undelivered(bridge.Disconnected) == 10 }, "all that waited")
			assert.Empty(t, r.got)
		})
	}
}

func (g *gateway) idle() bool { return g.hub.Directory().Links()[http.Protocol].Idle() }

// Many callbacks share the bounded number of attempts, and all get their turn.
func TestAttemptsAreBounded(t *testing.T) {
	t.Parallel()
	g := start(t, func(_ *bridge.Options, o *options) { o.Callbacks.Concurrency = 3 })
	var now, most atomic.Int64
	met := make(chan struct{})
	r := receive(t, func(nethttp.ResponseWriter, string) {
		n := now.Add(1)
		for {
			if old := most.Load(); n <= old || most.CompareAndSwap(old, n) {
				break
			}
		}
		<-met
		now.Add(-1)
	})
	id, _ := g.register()
	for c := range 20 {
		g.join(id, fmt.Sprintf("%s/%d", r.URL, c), c+1)
	}
	channels := make([]int, 20)
	for c := range channels {
		channels[c] = c + 1
	}
	g.broadcast(id, "x", channels...)
	harness.Eventually(t, func() bool { return now.Load() == 3 }, "they meet")
	close(met)
	for range 20 {
		r.next(t)
	}
	assert.EqualValues(t, 3, most.Load())
	assert.Zero(t, g.undelivered(bridge.QueueFull))
}

// A sender whose reports cannot be delivered does not slow the callbacks of others.
func TestReportsStarveNobody(t *testing.T) {
	t.Parallel()
	g := start(t, func(_ *bridge.Options, o *options) {
		o.Callbacks.SenderCallbacks, o.Callbacks.RetryGap = 5, time.Hour
	})
	r := receive(t, nil)
	victim, _ := g.register()
	g.join(victim, r.URL, 5)
	loud, _ := g.register()
	g.follow(fmt.Sprintf("channels=6&sender=%d", loud))
	for i := range 20 {
		a := g.post("/broadcast", obj{"sender": loud, "channels": []int{6}, "message": i, "callback_url": fmt.Sprintf("http://127.0.0.1:9/%d", i)})
		require.Equal(t, 200, a.status, a.body)
	}
	harness.Eventually(t, func() bool { return g.undelivered(bridge.QueueFull) == 15 }, "five addresses are enough")
	g.broadcast(victim, "x", 5)
	r.next(t)
}

func TestAllCallbacksTogetherAreBounded(t *testing.T) {
	t.Parallel()
	g := start(t, func(_ *bridge.Options, o *options) {
		o.Callbacks.Bytes, o.Callbacks.RetryGap = 100_000, time.Hour
	})
	r := receive(t, func(w nethttp.ResponseWriter, _ string) { w.WriteHeader(500) })
	id, _ := g.register()
	var channels []int
	for c := range 10 {
		g.join(id, fmt.Sprintf("%s/%d", r.URL, c), c+1)
		channels = append(channels, c+1)
	}
	g.broadcast(id, strings.Repeat("x", 20_000), channels...)
	lost := func() int { return g.undelivered(bridge.QueueFull) + g.undelivered(bridge.Limit) }
	harness.Eventually(t, func() bool { return lost() == 6 }, "four are all that there is room for")
	require.Equal(t, 200, g.post("/channels/leave", obj{"sender": id, "channels": channels}).status)
	harness.Eventually(t, func() bool { return g.undelivered(bridge.Disconnected) == 4 }, "they are gone")
	g.join(id, r.URL, 1)
	g.broadcast(id, strings.Repeat("x", 60_000), 1)
	harness.Eventually(t, g.idle, "there is room again")
	assert.Equal(t, 6, lost())
}

func TestCallbacksOutliveARestart(t *testing.T) {
	t.Parallel()
	store := &memory{}
	r := receive(t, nil)
	with := func(b *bridge.Options, _ *options) { b.Store = store }
	g := start(t, with)
	id, _ := g.register()
	g.join(id, r.URL, 5, 6)
	g.stop()
	g = start(t, with)
	g.broadcast(id, "x", 5, 6)
	assert.EqualValues(t, 5, r.next(t).json(t)["channel"])
	assert.EqualValues(t, 6, r.next(t).json(t)["channel"])
}

func TestShutdownDrainsCallbacks(t *testing.T) {
	t.Parallel()
	g := start(t)
	r := receive(t, func(nethttp.ResponseWriter, string) { time.Sleep(time.Millisecond) })
	id, _ := g.register()
	g.join(id, r.URL, 5)
	for i := range 100 {
		g.broadcast(id, i, 5)
	}
	g.stop()
	assert.Len(t, r.got, 100)
}

func TestShutdownGivesUpOnCallbacks(t *testing.T) {
	t.Parallel()
	g := start(t, func(_ *bridge.Options, o *options) {
		o.DrainTimeout, o.Callbacks.RetryGap = 50*time.Millisecond, time.Hour
	})
	r := receive(t, func(w nethttp.ResponseWriter, _ string) { w.WriteHeader(500) })
	id, _ := g.register()
	g.join(id, r.URL, 5)
	for i := range 7 {
		g.broadcast(id, i, 5)
	}
	g.stop()
	assert.Equal(t, 7, g.undelivered(bridge.Failed))
}
