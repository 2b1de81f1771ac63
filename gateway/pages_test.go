package gateway_test

import (
	"context"
	"fmt"
	"net"
	nethttp "net/http"
	"net/http/httptest"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/config"
	"watchtower/internal/harness/browser"
)

// askedAs returns the status of a request with this Host.
func (r *running) askedAs(host, path string) int {
	r.t.Helper()
	req, err := nethttp.NewRequest("GET", "http://"+r.at.HTTP+path, nil)
	require.NoError(r.t, err)
	req.Host = host
	res, err := web.Do(req)
	require.NoError(r.t, err)
	res.Body.Close()
	return res.StatusCode
}

func testHosts(t *testing.T) {
	r := start(t, func(c *config.Config) {
		c.Open, c.SecretKey, c.HTTP.Hosts = true, "", []string{"gateway.example.org"}
	})
	assert.Equal(t, 200, r.askedAs("gateway.example.org", "/metrics"))
	assert.Equal(t, 421, r.askedAs("evil.example", "/metrics"))
	assert.Equal(t, 200, r.askedAs("evil.example", "/readyz"))
	r = start(t, nil)
	assert.Equal(t, 200, r.askedAs("evil.example", "/metrics"), "it has a secret key")
}

func TestTheNamesOfACertificateAreOwn(t *testing.T) {
	ca := newAuthority(t)
	ca.issue("server", "gw.example.org", "*.house.example")
	r := start(t, func(c *config.Config) {
		c.Open, c.SecretKey = true, ""
		ca.config(c)
	})
	for host, status := range map[string]int{"gw.example.org": 200, "x.house.example": 200, "house.example": 421, "evil.example": 421} {
		assert.Equal(t, status, r.askedAs(host, "/metrics"), host)
	}
}

// script runs in the page, and returns what its promise gives.
func script(t testing.TB, page context.Context, text string) string {
	t.Helper()
	said, err := chromedp.Run(page, chromedp.Evaluate[string](text, chromedp.EvalAwaitPromise))
	require.NoError(t, err)
	return said
}

// attempts are what a page can try at a gateway. Each says "in" or "out".
const attempts = `(async (at, sender) => {
	const socket = (path, protocol) => new Promise(done => {
		const s = new WebSocket("ws://" + at + path, protocol)
		s.onopen = () => { s.close(); done("in") }
		s.onerror = () => done("out")
	})
	const asked = promise => promise.then(a => a.type == "opaque" || a.ok ? "in" : "out", () => "out")
	return [
		await socket("/mqtt", "mqtt"),
		await socket("/channels/join?channels=5&sender=" + sender),
		await asked(fetch("http://" + at + "/metrics")),
		await asked(fetch("http://" + at + "/register", { method: "POST", body: "{}", headers: { "Content-Type": "application/x-www-form-urlencoded" } })),
	].join(" ")
})`

// A real browser with a page of somebody else, and with one whose name was made to
// point at the gateway.
func TestABrowserWithAPageOfSomebodyElse(t *testing.T) {
	t.Parallel()
	open := start(t, func(c *config.Config) { c.Open, c.SecretKey = true, "" })
	locked := start(t, nil)
	elsewhere := httptest.NewServer(nethttp.HandlerFunc(func(w nethttp.ResponseWriter, _ *nethttp.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, "<!doctype html>")
	}))
	t.Cleanup(elsewhere.Close)
	listed := start(t, func(c *config.Config) { c.HTTP.CORSOrigins = []string{elsewhere.URL} })
	id := func(r *running) uint32 {
		var reg registration
		r.post("/register", fmt.Sprintf(`{"secret_key":%q}`, key), &reg)
		return reg.ID
	}
	try := func(page context.Context, r *running, at string) string {
		return script(t, page, attempts+fmt.Sprintf("(%q, %d)", at, id(r)))
	}
	page := browser.Open(t, elsewhere.URL)
	assert.Equal(t, "out out out out", try(page, open, open.at.HTTP))
	assert.Equal(t, "out out out out", try(page, locked, locked.at.HTTP))
	assert.Equal(t, "in in in out", try(page, listed, listed.at.HTTP), "register wants the key")
	_, senders := open.g.Hub().Directory().Counts()
	assert.Equal(t, 1, senders, "the form registered nobody")
	for _, r := range []*running{open, locked} {
		n, _ := r.g.Hub().Directory().Counts()
		assert.Zero(t, n[viaHTTP])
	}

	_, port, err := net.SplitHostPort(open.at.HTTP)
	require.NoError(t, err)
	rebound := "evil.example:" + port
	page = browser.Open(t, "http://"+rebound+"/metrics", chromedp.Flag("host-resolver-rules", "MAP evil.example 127.0.0.1"))
	assert.Equal(t, "out out out out", try(page, open, rebound))
	_, port, err = net.SplitHostPort(locked.at.HTTP)
	require.NoError(t, err)
	page = browser.Open(t, "http://evil.example:"+port+"/metrics", chromedp.Flag("host-resolver-rules", "MAP evil.example 127.0.0.1"))
	assert.Equal(t, "in", script(t, page, `fetch("/metrics").then(a => a.ok ? "in" : "out")`), "people's own names work where there is a key")
	assert.Equal(t, "401", script(t, page, `fetch("/register", {method: "POST", body: "{}", headers: {"Content-Type": "application/json"}}).then(a => String(a.status))`), "and give nothing without it")
}
