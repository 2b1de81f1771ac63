package console_test

import (
	"io"
	nethttp "net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"watchtower/config"
)

// receiver takes callbacks, or refuses them.
func receiver(t testing.TB) (url string, refuse *atomic.Bool, taken *atomic.Int32) {
	refuse, taken = &atomic.Bool{}, &atomic.Int32{}
	s := httptest.NewServer(nethttp.HandlerFunc(func(w nethttp.ResponseWriter, r *nethttp.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if refuse.Load() {
			w.WriteHeader(503)
			return
		}
		taken.Add(1)
	}))
	t.Cleanup(s.Close)
	return s.URL, refuse, taken
}

func TestACallbackThatFailsIsReplayed(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *config.Config) { c.Callbacks.Retries, c.Callbacks.RetryGap = 1, time.Millisecond })
	url, refuse, taken := receiver(t)
	token := r.device("logger")
	hostile := url + `/<img src=x onerror="document.title='run'">`
	r.call("POST", "channels/join/async", token, map[string]any{"channels": []int{5}, "callback_url": hostile})
	p := r.as("ann", "callbacks")
	p.waits(`document.querySelector("table.callbacks .lamp")?.textContent === "works"`)
	assert.Equal(t, 0, evaluate[int](p, `document.querySelectorAll("main img").length`))

	refuse.Store(true)
	r.says(token, 5, "hello")
	p.reads("has failed for")
	p.reads("answered 503")
	p.goes("devices")
	p.reads("Missing: 1 callback")
	p.reads("1 message was given up, and can be replayed.")
	p.press("logger")
	p.reads("Its callbacks")
	p.press("To the callbacks")

	refuse.Store(false)
	p.press("Replay")
	p.press("Replay 1 message")
	p.waits(`document.querySelector("table.callbacks .lamp")?.textContent === "works" && !document.querySelector("dialog")`)
	assert.EqualValues(t, 1, taken.Load())
	p.readsNot("answered 503")

	p.press("New secret")
	p.press("Make a new secret")
	p.waits(`document.querySelector(".secret code")?.textContent.startsWith("whsec_")`)
	secret := evaluate[string](p, `document.querySelector(".secret code").textContent`)
	p.press("Done")
	assert.NotContains(t, evaluate[string](p, `document.documentElement.outerHTML`), secret, "it is shown once")

	p.press("Switch off")
	p.press("Switch it off")
	p.reads("switched off for")
	r.says(token, 5, "while it is off")
	p.waits(`document.querySelector("table.callbacks td[data-label=waiting]").textContent === "1"`)
	p.press("Switch on")
	p.press("Switch it on")
	p.waits(`document.querySelector("table.callbacks .lamp")?.textContent === "works"`)
	p.waits(`document.querySelector("table.callbacks td[data-label=waiting]").textContent === "0"`)
	p.choose("State", "failing")
	p.reads("None is like that.")
}

// Who may only look sees no secret that a URL may hold.
func TestURLsOfCallbacksAreCut(t *testing.T) {
	t.Parallel()
	r := start(t)
	url, _, _ := receiver(t)
	r.call("POST", "channels/join/async", r.device("logger"), map[string]any{"channels": []int{5}, "callback_url": url + "/a-secret-path"})
	p := r.as("lou", "callbacks")
	p.reads(url + "/…")
	assert.NotContains(t, p.text(), "a-secret-path")
	assert.False(t, p.can("New secret"))
}
