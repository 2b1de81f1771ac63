package gateway_test

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	nethttp "net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
	"watchtower/config"
)

func testCallbacksAllow(t *testing.T) {
	join := func(allow []string) (int, string) {
		r := start(t, func(c *config.Config) { c.Callbacks.Allow = allow })
		return r.call("POST", "/channels/join/async", "", fmt.Sprintf(`{"sender":%d,"channels":[5],"callback_url":"http://127.0.0.1:9/"}`, r.register("").ID))
	}
	status, body := join(nil)
	assert.Equal(t, 400, status)
	assert.Contains(t, body, "--allow-callbacks 127.0.0.1")
	status, body = join([]string{"127.0.0.0/8"})
	assert.Equal(t, 200, status, body)
}

func testPublicOnly(t *testing.T) {
	for public, want := range map[bool]int{false: 200, true: 400} {
		r := start(t, func(c *config.Config) { c.Callbacks.PublicOnly = public })
		status, body := r.call("POST", "/channels/join/async", "", fmt.Sprintf(`{"sender":%d,"channels":[5],"callback_url":"http://192.168.7.7/"}`, r.register("").ID))
		assert.Equal(t, want, status, body)
	}
}

// badCallback joins a callback that answers as answer does, and returns a
// broadcaster and the number of attempts so far.
func badCallback(r *running, answer nethttp.HandlerFunc) (say func(string), attempts *atomic.Int32) {
	attempts = new(atomic.Int32)
	receiver := httptest.NewServer(nethttp.HandlerFunc(func(w nethttp.ResponseWriter, req *nethttp.Request) {
		_, _ = io.Copy(io.Discard, req.Body)
		attempts.Add(1)
		answer(w, req)
	}))
	r.t.Cleanup(func() { r.stop(); receiver.CloseClientConnections(); receiver.Close() })
	id := r.register("").ID
	r.post("/channels/join/async", fmt.Sprintf(`{"sender":%d,"channels":[5],"callback_url":%q}`, id, receiver.URL), nil)
	return func(m string) {
		r.post("/broadcast", fmt.Sprintf(`{"sender":%d,"channels":[5],"message":%q}`, id, m), nil)
	}, attempts
}

func refuse(w nethttp.ResponseWriter, _ *nethttp.Request) { w.WriteHeader(500) }

func hang(_ nethttp.ResponseWriter, req *nethttp.Request) { <-req.Context().Done() }

func testCallbackTimeout(t *testing.T) {
	r := start(t, func(c *config.Config) { c.Callbacks.Timeout, c.Callbacks.Retries = short, 0 })
	say, _ := badCallback(r, hang)
	say("x")
	eventually(t, "it fails", func() bool { return r.dropped(viaCallback, bridge.Failed) == 1 })
}

func testRetries(t *testing.T) {
	r := start(t, func(c *config.Config) { c.Callbacks.Retries, c.Callbacks.RetryGap = 2, time.Millisecond })
	say, attempts := badCallback(r, refuse)
	say("x")
	eventually(t, "it fails", func() bool { return r.dropped(viaCallback, bridge.Failed) == 1 })
	assert.EqualValues(t, 3, attempts.Load())
}

func testRetryGap(t *testing.T) {
	r := start(t, func(c *config.Config) { c.Callbacks.Retries, c.Callbacks.RetryGap = 2, short })
	say, _ := badCallback(r, refuse)
	begin := time.Now()
	say("x")
	eventually(t, "it fails", func() bool { return r.dropped(viaCallback, bridge.Failed) == 1 })
	assert.GreaterOrEqual(t, time.Since(begin), 3*short, "100 ms, then 200")
}

func testCallbackQueue(t *testing.T) {
	r := start(t, func(c *config.Config) { c.Callbacks.Queue, c.Callbacks.Retries = 2, 0; c.ShutdownTimeout = time.Second })
	say, _ := badCallback(r, hang)
	for range 5 {
		say("x")
	}
	eventually(t, "the queue is full", func() bool { return r.dropped(viaCallback, bridge.QueueFull) >= 2 })
}

func testMaxGap(t *testing.T) {
	r := start(t, func(c *config.Config) {
		c.Callbacks.RetryGap, c.Callbacks.MaxGap, c.Callbacks.Retries = 20*time.Millisecond, 20*time.Millisecond, 12
	})
	say, _ := badCallback(r, refuse)
	begin := time.Now()
	say("x")
	eventually(t, "it fails", func() bool { return r.dropped(viaCallback, bridge.Failed) == 1 })
	assert.Less(t, time.Since(begin), 30*time.Second, "doubled each time it were 82 s")
}

func testCallbackBytes(t *testing.T) {
	r := start(t, func(c *config.Config) { c.Callbacks.Bytes, c.ShutdownTimeout = 500, time.Second })
	say, _ := badCallback(r, hang)
	for range 10 {
		say("a message of more than fifty bytes, with all that is around it in its JSON")
	}
	eventually(t, "there is no more room", func() bool { return r.dropped(viaCallback, bridge.QueueFull) >= 6 })
}

func testConcurrency(t *testing.T) {
	r := start(t, func(c *config.Config) { c.Callbacks.Concurrency, c.ShutdownTimeout = 1, time.Second })
	one, attempts := badCallback(r, hang)
	_, others := badCallback(r, hang)
	one("x") // to both
	eventually(t, "one hangs", func() bool { return attempts.Load()+others.Load() == 1 })
}

// view is the first callback of a sender, as GET /callbacks shows it.
func (r *running) view(id uint32) (v struct {
	URL     string `json:"callback_url"`
	State   string
	Reason  string
	Waiting int
	Failed  []struct{ ID string }
}) {
	status, body := r.call("GET", fmt.Sprintf("/callbacks?sender=%d", id), "", "")
	require.Equal(r.t, 200, status, body)
	var list struct{ Callbacks []json.RawMessage }
	require.NoError(r.t, json.Unmarshal([]byte(body), &list))
	require.Len(r.t, list.Callbacks, 1)
	require.NoError(r.t, json.Unmarshal(list.Callbacks[0], &v))
	return v
}

// callbackTo joins channel 5 by a callback.
func (r *running) callbackTo(url string) (id uint32, secret string) {
	id = r.register("").ID
	var joined struct{ Secret string }
	r.post("/channels/join/async", fmt.Sprintf(`{"sender":%d,"channels":[5],"callback_url":%q}`, id, url), &joined)
	return id, joined.Secret
}

func (r *running) say(id uint32, message string) {
	r.post("/broadcast", fmt.Sprintf(`{"sender":%d,"channels":[5],"message":%q}`, id, message), nil)
}

func testDisableAfter(t *testing.T) {
	r := start(t, func(c *config.Config) {
		c.Callbacks.Retries, c.Callbacks.RetryGap, c.Callbacks.MaxGap, c.Callbacks.DisableAfter = 4, short, short, 3*short
	})
	failing := httptest.NewServer(nethttp.HandlerFunc(refuse))
	defer failing.Close()
	id, _ := r.callbackTo(failing.URL)
	r.say(id, "x")
	eventually(t, "it is switched off", func() bool { return r.view(id).State == "disabled" })
	assert.Contains(t, r.view(id).Reason, "callbacks.disable_after")
}

func testRotationOverlap(t *testing.T) {
	for overlap, signatures := range map[time.Duration]int{0: 1, time.Hour: 2} {
		r := start(t, func(c *config.Config) { c.Callbacks.RotationOverlap = overlap })
		got := make(chan string, 10)
		receiver := httptest.NewServer(nethttp.HandlerFunc(func(_ nethttp.ResponseWriter, req *nethttp.Request) { got <- req.Header.Get("webhook-signature") }))
		defer receiver.Close()
		reg := r.register("rotates")
		id := reg.ID
		r.post("/channels/join/async", fmt.Sprintf(`{"sender":%d,"channels":[5],"callback_url":%q}`, id, receiver.URL), nil)
		rotate := fmt.Sprintf(`{"sender":%d,"callback_url":%q}`, id, receiver.URL)
		status, body := r.call("POST", "/callbacks/rotate", "", rotate, "Authorization", "Bearer "+reg.Token)
		require.Equal(t, 200, status, body)
		r.say(id, "x")
		assert.Len(t, strings.Fields(<-got), signatures)
		r.stop()
	}
}

func testCallbacksKept(t *testing.T) {
	r := start(t, func(c *config.Config) { c.Callbacks.Kept, c.Callbacks.Retries = 2, 0 })
	failing := httptest.NewServer(nethttp.HandlerFunc(refuse))
	defer failing.Close()
	id, _ := r.callbackTo(failing.URL)
	for range 3 {
		r.say(id, "x")
	}
	eventually(t, "all are given up", func() bool { return r.dropped(viaCallback, bridge.Failed) == 3 })
	assert.Len(t, r.view(id).Failed, 2)
}

func testCallbackSaveInterval(t *testing.T) {
	for every, want := range map[time.Duration]int{time.Millisecond: 1, time.Hour: 0} {
		r := start(t, func(c *config.Config) { c.Callbacks.SaveInterval = every })
		say, attempts := badCallback(r, hang)
		say("x")
		eventually(t, "it hangs", func() bool { return attempts.Load() > 0 })
		copied := filepath.Join(t.TempDir(), "watchtower.db")
		waiting := func() int {
			b, err := os.ReadFile(filepath.Join(r.cfg.DataDir, "watchtower.db"))
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(copied, b, 0o600))
			return strings.Count(string(b), `"message":"x"`)
		}
		if want > 0 {
			eventually(t, "it is on disk", func() bool { return waiting() > 0 })
		} else {
			assert.Zero(t, waiting())
		}
	}
}

func testSenderStreams(t *testing.T) {
	r := start(t, func(c *config.Config) { c.Limits.SenderStreams = 1 })
	id := r.register("").ID
	end := r.follow(fmt.Sprintf("channels=5&sender=%d", id), func([]byte) {})
	path := fmt.Sprintf("/channels/join?channels=5&sender=%d", id)
	status, body := r.call("GET", path, "", "")
	assert.Equal(t, 429, status)
	assert.Contains(t, body, "limits.sender_streams")
	end()
	eventually(t, "there is room again", func() bool {
		res, err := web.Get("http://" + r.at.HTTP + path)
		require.NoError(t, err)
		defer res.Body.Close()
		return res.StatusCode == 200
	})
}

func testSenderCallbacks(t *testing.T) {
	r := start(t, func(c *config.Config) { c.Limits.SenderCallbacks = 1 })
	id, _ := r.callbackTo("http://127.0.0.1:9/a")
	again := fmt.Sprintf(`{"sender":%d,"channels":[6],"callback_url":"http://127.0.0.1:9/b"}`, id)
	status, body := r.call("POST", "/channels/join/async", "", again)
	assert.Equal(t, 400, status)
	assert.Contains(t, body, "limits.sender_callbacks")
	r.post("/channels/leave", fmt.Sprintf(`{"sender":%d,"channels":[5]}`, id), nil)
	r.post("/channels/join/async", again, nil)
}

func testSenderRequests(t *testing.T) {
	r := start(t, func(c *config.Config) { c.Limits.SenderRequests = 2 })
	id := r.register("").ID
	seen := map[int]int{}
	for range 10 {
		seen[r.channels(id)]++
	}
	assert.Positive(t, seen[429])
	assert.GreaterOrEqual(t, seen[204], 2)
	assert.ElementsMatch(t, []int{204, 429}, slices.Collect(maps.Keys(seen)))
	eventually(t, "two more each second", func() bool { return r.channels(id) == 204 })
}

func testFailures(t *testing.T) {
	r := start(t, func(c *config.Config) { c.Limits.Failures, c.Limits.FailureInterval = 3, 5*time.Second })
	wrong := func() int {
		status, _ := r.call("POST", "/register", "", `{"secret_key":"wrong"}`)
		return status
	}
	for range 3 {
		assert.Equal(t, 401, wrong())
	}
	assert.Equal(t, 429, wrong())
	assert.Contains(t, r.log.String(), "setting=limits.failures", "the owner can find out who it is")
	eventually(t, "one is forgiven", func() bool { return wrong() == 401 })
	assert.Equal(t, 429, wrong(), "and no more")
}
