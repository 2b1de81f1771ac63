//go:build !race

// Pages in a browser. Of what they do the race detector would see the gateway's part alone, which
// the tests of the package http show it with clients in Go.

package gateway_test

import (
	"context"
	"fmt"
	"io"
	"net"
	nethttp "net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/config"
	"watchtower/internal/harness"
	"watchtower/internal/harness/browser"
)

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
	chromium := browser.Open(t, "about:blank", chromedp.Flag("host-resolver-rules", "MAP evil.example 127.0.0.1"))
	page := browser.Tab(t, chromium, elsewhere.URL)
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
	page = browser.Tab(t, chromium, "http://"+rebound+"/metrics")
	assert.Equal(t, "out out out out", try(page, open, rebound))
	_, port, err = net.SplitHostPort(locked.at.HTTP)
	require.NoError(t, err)
	page = browser.Tab(t, chromium, "http://evil.example:"+port+"/metrics")
	assert.Equal(t, "in", script(t, page, `fetch("/metrics").then(a => a.ok ? "in" : "out")`), "people's own names work where there is a key")
	assert.Equal(t, "401", script(t, page, `fetch("/register", {method: "POST", body: "{}", headers: {"Content-Type": "application/json"}}).then(a => String(a.status))`), "and give nothing without it")
}

// shortToken makes a token for a page by a sender's own.
func (r *running) shortToken(own, body string) string {
	r.t.Helper()
	status, answer := r.callWith(own, "POST", "/tokens", body)
	assert.Equal(r.t, 200, status, answer)
	_, rest, _ := strings.Cut(answer, `"token":"`)
	text, _, _ := strings.Cut(rest, `"`)
	return text
}

// callWith makes a request with a token.
func (r *running) callWith(token, method, path, body string) (int, string) {
	r.t.Helper()
	req, err := nethttp.NewRequest(method, "http://"+r.at.HTTP+path, strings.NewReader(body))
	require.NoError(r.t, err)
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := web.Do(req)
	require.NoError(r.t, err)
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	require.NoError(r.t, err)
	return res.StatusCode, string(b)
}

// A page follows a channel by EventSource, and speaks by WebSocket, with a token in
// either place. The token outlives a restart, is never logged, and ends with the key.
func TestAPageWithAToken(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	r := startWith(t, cfg)
	own := r.register("page").Token
	hear, speak := r.shortToken(own, `{"channels":[5]}`), r.shortToken(own, `{"scope":"hear+speak"}`)
	page := browser.Open(t, "http://"+r.at.HTTP+"/metrics")
	assert.Equal(t, "hello hello watchtower", script(t, page, fmt.Sprintf(`new Promise((done, failed) => {
		const heard = []
		const hear = (text, socket) => { heard.push(JSON.parse(text).message); if (heard.length == 2) done(heard.join(" ") + " " + socket.protocol) }
		const events = new EventSource("/channels/join?channels=5&access_token=%s")
		events.onerror = () => failed("events")
		let socket
		events.onmessage = e => hear(e.data, socket)
		events.onopen = () => {
			socket = new WebSocket("/channels/join?channels=5", ["watchtower", "watchtower.bearer.%s"])
			socket.onerror = () => failed("socket")
			socket.onmessage = e => hear(e.data, socket)
			socket.onopen = () => socket.send(JSON.stringify({ type: "broadcast", channels: [5], message: "hello" }))
		}
	})`, hear, speak)))
	assert.Equal(t, "4401 false", script(t, page, fmt.Sprintf(`new Promise(done => {
		const socket = new WebSocket("/channels/join?channels=5&access_token=%s")
		socket.onopen = () => 0
		socket.onclose = e => done(e.code + " " + (e.reason == ""))
	})`, r.shortToken(own, `{"ttl":2}`))))
	status, _ := r.callWith(speak, "GET", "/me", "")
	assert.Equal(t, 200, status)
	r.stop()
	for _, secret := range []string{hear, speak, own} {
		assert.NotContains(t, r.log.String(), secret)
	}
	assert.Contains(t, r.log.String(), "/channels/join", "though requests were logged")

	const told = "the secret key is another than at the last start"
	r = startWith(t, cfg)
	status, answer := r.callWith(hear, "GET", "/me", "")
	assert.Equal(t, 200, status, answer)
	assert.NotContains(t, r.log.String(), told)
	r.stop()
	cfg.SecretKey = "another key than before"
	r = startWith(t, cfg)
	assert.Contains(t, r.log.String(), told)
	status, answer = r.callWith(hear, "GET", "/me", "")
	assert.Equal(t, 401, status, answer)
}

// withoutSockets leaves nginx nothing but its defaults.
func withoutSockets(conf string) string {
	return regexp.MustCompile(`(?s)    # A WebSocket.*?\n    }\n`).ReplaceAllString(conf, "")
}

// The example's page, as the gateway serves it and below a path of a proxy, misses nothing
// when the network is cut, and says so when the gateway was restarted.
func TestAPageMissesNothing(t *testing.T) {
	t.Parallel()
	chromium := browser.Open(t, "about:blank")
	for name, at := range map[string]func(string) string{
		"the gateway's":       func(gateway string) string { return gateway },
		"a proxy's":           func(gateway string) string { return nginx(t, gateway, nil) + "/watchtower" },
		"without any sockets": func(gateway string) string { return nginx(t, gateway, withoutSockets) + "/watchtower" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := testConfig(t)
			cfg.HTTP.Listen, cfg.HTTP.Pages = harness.FreeAddress(t), "../examples/web"
			r := startWith(t, cfg)
			began := time.Now()
			cable := harness.NewCable(t, r.at.HTTP)
			// A page that has heard nothing asks for up to two seconds more than it is there.
			eventually(t, "the gateway is older than that", func() bool { return time.Since(began) > 2*time.Second })
			page := browser.Tab(t, chromium, "http://"+at(cable.Addr())+"/pages/#"+r.shortToken(r.register("").Token, `{"scope":"hear+speak","channels":[5]}`))
			shown := func() []string {
				return browser.Evaluate[[]string](t, page, `[...document.querySelectorAll("li")].map(li => li.textContent.replace(/^\d+: /, ""))`)
			}
			showsIn(t, page, "Listening on channel 5") // from then on it misses nothing
			d := r.stream()
			var want []string
			hears := func(what string) {
				t.Helper()
				assert.Eventually(t, func() bool { return len(shown()) >= len(want) }, patient, 50*time.Millisecond, what)
				require.Equal(t, want, shown(), "everything, once, in order")
			}
			say := func() {
				want = append(want, fmt.Sprint("message ", len(want)))
				r.say(d.id, want[len(want)-1])
			}
			for round := range 4 {
				if round > 0 { // the first time it is cut before it has heard anything
					say()
					hears("the page hears")
				}
				cable.Cut()
				for range 5 {
					say()
				}
				cable.Mend()
				say()
				hears("the page comes back")
			}
			require.NoError(t, chromedp.Do(page, chromedp.SendKeys("input", "from the page\n")))
			for d.next(t).data != "from the page" {
			}
			want = append(want, "from the page")
			hears("and hears itself")

			for _, missed := range []bool{false, true} {
				cable.Mend()
				if missed {
					cable.Cut()
					r.say(d.id, "what only those heard who were there")
					want = append(want, "… something was missed")
				}
				r.stop()
				r = startWith(t, cfg)
				cable.Mend()
				d = r.stream()
				say()
				hears("after a restart, whether something was missed")
			}
		})
	}
}

// A page's own WebSocket is not refused below a path of a proxy, another's is.
func TestAPageOpensAWebSocket(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *config.Config) { c.HTTP.Pages = "../examples/web" })
	at := nginx(t, r.at.HTTP, nil)
	id := r.register("").ID
	page := browser.Open(t, "http://"+at+"/watchtower/pages/")
	open := func(host string) string {
		script := fmt.Sprintf(`new Promise(done => {
			const socket = new WebSocket("ws://%s/channels/join?channels=5&sender=%d")
			socket.onopen = () => done("open")
			socket.onerror = () => done("refused")
		})`, host, id)
		said, err := chromedp.Run(page, chromedp.Evaluate[string](script, chromedp.EvalAwaitPromise))
		require.NoError(t, err)
		return said
	}
	assert.Equal(t, "open", open(at+"/watchtower"))
	assert.Equal(t, "refused", open(r.at.HTTP), "of another origin")
}

// guidePage writes the page that docs/for-web-developers.md shows into a directory.
func guidePage(t *testing.T) (directory string) {
	t.Helper()
	directory = t.TempDir()
	page := block(t, text(t, "docs/for-web-developers.md"), "```html\n", "```\n")
	require.NoError(t, os.WriteFile(filepath.Join(directory, "index.html"), []byte(page), 0o600))
	return directory
}

// showsIn waits until a page shows a text; meanwhile it may be loaded again.
func showsIn(t testing.TB, page context.Context, what string) {
	t.Helper()
	eventually(t, what, func() bool {
		shown, err := chromedp.Run(page, chromedp.Evaluate[string]("document.body.innerText"))
		return err == nil && strings.Contains(shown, what)
	})
}

// The page that docs/for-web-developers.md shows hears, and speaks. So do the two lines without
// the SDK, and they come back when the gateway does.
func TestThePageOfTheGuide(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	cfg.HTTP.Listen, cfg.HTTP.Pages = harness.FreeAddress(t), guidePage(t)
	r := startWith(t, cfg)
	d := r.stream()
	token := r.shortToken(r.register("").Token, `{"scope":"hear+speak","channels":[5]}`)
	page := browser.Open(t, "http://"+r.at.HTTP+"/pages/#"+token)
	for d.next(t).data != `{"page":"here"}` {
	}
	r.post("/broadcast", fmt.Sprintf(`{"sender":%d,"channels":[5],"message":{"lamp":"on"}}`, d.id), nil)
	showsIn(t, page, `{"lamp":"on"}`)
	lines := strings.ReplaceAll(block(t, text(t, "docs/for-web-developers.md"), "```js\n", "```\n"), "localhost:8080", r.at.HTTP)
	require.NotContains(t, lines, "localhost")
	joined := func() int { n, _ := r.g.Hub().Directory().Counts(); return n[viaHTTP] }
	before := joined()
	browser.Evaluate[bool](t, page, fmt.Sprintf(`(() => {
		const token = %q, console = {log: text => document.body.append(text)}
		%s
		return true
	})()`, token, lines))
	eventually(t, "both have joined", func() bool { return joined() == before+2 })
	bothHear := func(word string) {
		t.Helper()
		r.post("/broadcast", fmt.Sprintf(`{"sender":%d,"channels":[5],"message":%q}`, d.id, word), nil)
		eventually(t, "both hear", func() bool {
			return strings.Count(browser.Evaluate[string](t, page, `document.body.innerText`), fmt.Sprintf(`"message":%q`, word)) == 2
		})
	}
	bothHear("hello")
	r.stop()
	r = startWith(t, cfg)
	d = r.stream()
	eventually(t, "they come back, beside the page and what listens here", func() bool { return joined() == 4 })
	bothHear("hello again")
}

// Both pages say what is wrong with a token, and take another one that comes into the address.
func TestPagesTakeAnotherToken(t *testing.T) {
	t.Parallel()
	chromium := browser.Open(t, "about:blank")
	for name, directory := range map[string]string{"the example's": "../examples/web", "the guide's": guidePage(t)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := start(t, func(c *config.Config) { c.HTTP.Pages = directory })
			own := r.register("wall").Token
			page := browser.Tab(t, chromium, "http://"+r.at.HTTP+"/pages/")
			showsIn(t, page, "no token")
			takes := func(token string) {
				browser.Evaluate[bool](t, page, fmt.Sprintf(`(location.hash = %q, true)`, token))
				eventually(t, "the page joins", func() bool { n, _ := r.g.Hub().Directory().Counts(); return n[viaHTTP] == 1 })
			}
			takes(r.shortToken(own, `{"channels":[5]}`))
			if name == "the example's" { // the other one speaks by itself
				require.NoError(t, chromedp.Do(page, chromedp.SendKeys("input", "a word\n")))
			}
			showsIn(t, page, "hear is not enough for /broadcast: watchtower token --speak,")
			takes(r.shortToken(own, `{"channels":[5],"scope":"hear+speak"}`))
			d := r.stream()
			eventually(t, "the page hears by the other token", func() bool {
				r.say(d.id, "for the page")
				shown, err := chromedp.Run(page, chromedp.Evaluate[string]("document.body.innerText"))
				return err == nil && strings.Contains(shown, "for the page") && !strings.Contains(shown, "is not enough")
			})
		})
	}
}
