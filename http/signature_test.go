package http_test

import (
	"fmt"
	nethttp "net/http"
	"sync/atomic"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
	"watchtower/callback"
	"watchtower/internal/harness"
)

// The official library accepts every delivery, and nothing else.
func TestSignatures(t *testing.T) {
	t.Parallel()
	g := start(t)
	id, token := g.register()
	var failures atomic.Int32
	failures.Store(2)
	r := receive(t, func(w nethttp.ResponseWriter, _ string) {
		if failures.Add(-1) >= 0 {
			w.WriteHeader(500)
		}
	})
	join := func(url string) string {
		a := g.post("/channels/join/async", obj{"sender": id, "channels": []int{5, 6}, "callback_url": url}, "Authorization", "Bearer "+token)
		require.Equal(t, 200, a.status, a.body)
		return a.json(t)["secret"].(string)
	}
	secret := join(r.URL)
	assert.Equal(t, secret, join(r.URL), "the same at every join")
	other := join(r.URL + "/other")
	assert.NotEqual(t, secret, other)
	secret = join(r.URL)
	official, err := standardwebhooks.NewWebhook(secret)
	require.NoError(t, err)
	stranger, err := standardwebhooks.NewWebhook(other)
	require.NoError(t, err)

	said := g.say(id, "hello", 5, 6)
	seen := map[string]int{}
	for range 4 { // two channels, and two failed attempts
		p := r.next(t)
		require.NoError(t, official.Verify([]byte(p.body), p.header))
		assert.Error(t, official.Verify([]byte(p.body+" "), p.header))
		assert.Error(t, stranger.Verify([]byte(p.body), p.header))
		seen[p.header.Get("webhook-id")]++
	}
	assert.Equal(t, map[string]int{said + "-5": 3, said + "-6": 1}, seen, "the same in every attempt")
	a := g.post("/broadcast", obj{"sender": id, "channels": []int{5}, "message": "x", "callback_url": r.URL})
	require.Equal(t, 200, a.status)
	ids := map[string]bool{}
	for range 2 {
		p := r.next(t)
		require.NoError(t, official.Verify([]byte(p.body), p.header))
		ids[p.header.Get("webhook-id")] = true
	}
	said = a.json(t)["id"].(string)
	assert.Equal(t, map[string]bool{said + "-5": true, "report-" + said: true}, ids)
}

func TestSecretsComeFromOneKey(t *testing.T) {
	t.Parallel()
	secret := func(key string) string {
		g := start(t, func(o *bridge.Options, h *options) { h.Callbacks.SigningKey = []byte(key) })
		defer g.stop()
		hold := g.hub.Holds().New(func() {})
		defer g.hub.Holds().Release(hold)
		id, _ := g.register("name", "lamp")
		a := g.post("/channels/join/async", obj{"sender": id, "channels": []int{5}, "callback_url": fmt.Sprint("http://127.0.0.1:9/", key)})
		return a.json(t)["secret"].(string)
	}
	assert.NotEqual(t, secret("a"), secret("b"))
}

func TestAReceiverThatIsGone(t *testing.T) {
	t.Parallel()
	g := start(t)
	id, _ := g.register()
	gone := receive(t, func(w nethttp.ResponseWriter, _ string) { w.WriteHeader(410) })
	a := g.post("/channels/join/async", obj{"sender": id, "channels": []int{5, 6}, "callback_url": gone.URL})
	require.Equal(t, 200, a.status)
	g.say(id, "x", 5)
	gone.next(t)
	harness.Eventually(t, func() bool { n, _ := g.hub.Directory().Counts(); return n[callback.Protocol] == 0 }, "it has left all channels")
	assert.Equal(t, 1, g.undelivered(bridge.Failed))
	list := g.callbacks(id, "")
	require.Len(t, list, 1)
	assert.Equal(t, "disabled", list[0]["state"])
	assert.Equal(t, "its receiver answered 410 Gone", list[0]["reason"])
	problem(t, g.post("/broadcast", obj{"sender": id, "channels": []int{5}, "message": "x"}), 400, "unjoined-channel", "channels[0]")
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	g := start(t)
	id, _ := g.register()
	var attempts atomic.Int32
	r := receive(t, func(w nethttp.ResponseWriter, _ string) {
		if attempts.Add(1) == 1 {
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(429)
		}
	})
	require.Equal(t, 200, g.post("/channels/join/async", obj{"sender": id, "channels": []int{5}, "callback_url": r.URL}).status)
	g.say(id, "x", 5)
	r.next(t)
	began := time.Now()
	r.next(t)
	assert.GreaterOrEqual(t, time.Since(began), 900*time.Millisecond, "not after a millisecond, as is set")
}
