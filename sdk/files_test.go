package sdk_test

import (
	"context"
	"encoding/pem"
	"io"
	nethttp "net/http"
	"net/http/httptest"
	"os"
	"os/exec"
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
	"watchtower/static"
)

// A page on a slow link loads the module at once.
func TestTheModuleIsSmall(t *testing.T) {
	module, err := os.ReadFile("js/watchtower.js")
	require.NoError(t, err)
	assert.LessOrEqual(t, len(static.Compressed(module)), 4096)
	assert.NotContains(t, string(module), "\nimport ", "it needs nothing else")
}

// The gateway serves the module to everybody, and the browser asks whether it has changed.
func TestTheGatewayServesTheModule(t *testing.T) {
	h := start(t, nil)
	for path, kind := range map[string]string{"/watchtower.js": "text/javascript; charset=utf-8", "/watchtower.d.ts": "text/plain; charset=utf-8"} {
		want, err := os.ReadFile("js" + path)
		require.NoError(t, err)
		res, body := h.call("GET", path, "")
		assert.Equal(t, 200, res.StatusCode)
		assert.Equal(t, string(want), body)
		assert.Equal(t, kind, res.Header.Get("Content-Type"))
		assert.Equal(t, "no-cache", res.Header.Get("Cache-Control"))
		assert.Equal(t, "nosniff", res.Header.Get("X-Content-Type-Options"))
		res, _ = h.call("GET", path, "", "If-None-Match", res.Header.Get("ETag"))
		assert.Equal(t, 304, res.StatusCode)
		res, _ = h.call("GET", path, "", "Accept-Encoding", "gzip")
		assert.Equal(t, "gzip", res.Header.Get("Content-Encoding"))
		res, _ = h.call("HEAD", path, "")
		assert.Equal(t, int64(len(want)), res.ContentLength)
		res, _ = h.call("POST", path, "")
		assert.Equal(t, 405, res.StatusCode)
		reg := h.register("")
		res, _ = h.call("GET", path+"?access_token="+h.shortToken(reg.Token, obj{}), "")
		assert.Equal(t, 200, res.StatusCode, "a token does not matter")
		res, _ = h.call("GET", path, "", "Origin", "http://dash.lan")
		assert.Equal(t, 403, res.StatusCode, "a page of another origin")
	}
	h = start(t, func(c *config.Config) { c.HTTP.CORSOrigins = []string{"http://dash.lan"} })
	res, _ := h.call("GET", "/watchtower.js", "", "Origin", "http://dash.lan", "Accept-Encoding", "gzip")
	assert.Equal(t, 200, res.StatusCode, "one that is listed")
	assert.Equal(t, "http://dash.lan", res.Header.Get("Access-Control-Allow-Origin"))
	vary := strings.Join(res.Header.Values("Vary"), ", ")
	assert.Contains(t, vary, "Origin")
	assert.Contains(t, vary, "Accept-Encoding")
}

// A page of another origin uses the SDK if the gateway lists it, and else is told why not.
func testOtherOrigins(t *testing.T, chromium context.Context) {
	t.Parallel()
	module, err := os.ReadFile("js/watchtower.js")
	require.NoError(t, err)
	page := httptest.NewServer(nethttp.HandlerFunc(func(w nethttp.ResponseWriter, r *nethttp.Request) {
		if r.URL.Path == "/watchtower.js" {
			w.Header().Set("Content-Type", "text/javascript")
			_, _ = w.Write(module)
		}
	}))
	t.Cleanup(page.Close)
	listed := start(t, func(c *config.Config) { c.HTTP.CORSOrigins = []string{page.URL} })
	other := start(t, nil)
	c := newClient(t, browser.Tab(t, chromium, page.URL))

	p := c.refused("connect", obj{"url": "http://" + other.at, "key": key})
	assert.Equal(t, "origin", p.Type)
	assert.Contains(t, p.Detail, "list that in http.cors_origins")
	assert.Contains(t, p.Detail, page.URL)
	other.stop()
	assert.Equal(t, "network", c.refused("connect", obj{"url": "http://" + other.at, "key": key}).Type, "nobody is there")

	assert.Equal(t, "token", c.refused("connect", obj{"url": "http://" + listed.at, "token": "wtp_…"}).Type, "no header can hold it")
	c.connect(listed.at, "dash")
	c.do("join", obj{"channels": []int{5}})
	c.do("broadcast", obj{"channels": []int{5}, "message": obj{"bytes": "/w=="}})
	c.heard(1)
	assert.Equal(t, 400, c.refused("members", obj{"channel": 6}).Status, "problems can be read")
}

// The page of docs/sdk.md that is of another origin works if it is listed, and says what is
// missing if it is not.
func testPageElsewhere(t *testing.T, chromium context.Context) {
	t.Parallel()
	docs, err := os.ReadFile("../docs/sdk.md")
	require.NoError(t, err)
	_, rest, _ := strings.Cut(string(docs), "<!-- elsewhere -->\n```html\n")
	text, _, found := strings.Cut(rest, "\n```\n")
	require.True(t, found)
	served := ""
	page := httptest.NewServer(nethttp.HandlerFunc(func(w nethttp.ResponseWriter, _ *nethttp.Request) { _, _ = io.WriteString(w, served) }))
	t.Cleanup(page.Close)
	shows := func(at, token, want string) {
		t.Helper()
		served = strings.ReplaceAll(text, "localhost:8080", at)
		tab := browser.Tab(t, chromium, page.URL+"/#"+token)
		harness.Eventually(t, func() bool {
			return strings.Contains(browser.Await[string](t, tab, `document.querySelector("p")?.textContent ?? ""`), want)
		})
	}
	other := start(t, nil)
	shows(other.at, "", "does its http.cors_origins list "+page.URL+"?")
	listed := start(t, func(c *config.Config) { c.HTTP.CORSOrigins = []string{page.URL} })
	shows(listed.at, listed.shortToken(listed.register("").Token, obj{"channels": []int{5}}), "Listening on channel 5")
}

// Behind a proxy that passes no Upgrade on, the SDK follows by HTTP.
func testNoUpgrade(t *testing.T, chromium context.Context) {
	t.Parallel()
	h := start(t, nil)
	proxy := httptest.NewServer(withoutUpgrade(h.at))
	t.Cleanup(proxy.Close)
	at := strings.TrimPrefix(proxy.URL, "http://")
	c := newPage(t, chromium, at)
	c.connect(at, "")
	c.do("join", obj{"channels": []int{5}})
	s := h.speaker()
	want := s.count(0, 2)
	c.heard(2)
	proxy.CloseClientConnections()
	want = append(want, s.count(2, 4)...)
	want = append(want, strings.Repeat("ü\n", 20_000), obj{"bytes": "/w=="})
	s.say(want[4])
	c.do("broadcast", obj{"channels": []int{5}, "message": want[5]})
	assert.Equal(t, want, c.heard(6))
	c.do("leave", obj{"channels": []int{5}})
	assert.Equal(t, "left", c.reaches("closed", 1).Error.Type)
	c.do("close", obj{})
}

// What the program throws is reported, and the next messages come all the same.
func testAMistakeInThePage(t *testing.T, chromium context.Context) {
	t.Parallel()
	h := start(t, nil)
	page := browser.Tab(t, chromium, "http://"+h.at+"/watchtower.d.ts")
	script := `(async () => {
		const { connect } = await import("/watchtower.js")
		window.said = []
		addEventListener("error", e => { said.push(e.message); e.preventDefault() })
		const w = await connect("/", { key: ` + encode(t, key) + ` })
		await w.join([5], m => { said.push(m.message); throw new Error("my mistake") })
		w.broadcast([5], "one")
		return w.broadcast([5], "two").then(a => a.id.length)
	})()`
	require.Equal(t, 26, browser.Await[int](t, page, script))
	require.Eventually(t, func() bool { return browser.Evaluate[int](t, page, "said.length") == 4 }, harness.Patience, 20*time.Millisecond)
	said := browser.Evaluate[[]string](t, page, "said.sort()")
	assert.Equal(t, []string{"Uncaught Error: my mistake", "Uncaught Error: my mistake", "one", "two"}, said)
	require.NoError(t, chromedp.Do(page, chromedp.Navigate("about:blank")))
}

// Python speaks TLS, and not with a server whose certificate it does not trust.
func TestPythonOverTLS(t *testing.T) {
	h := start(t, nil)
	proxy := httptest.NewTLSServer(withoutUpgrade(h.at))
	t.Cleanup(proxy.Close)
	p := newPython(t).refused("connect", obj{"url": proxy.URL, "key": key})
	assert.Equal(t, "network", p.Type)
	assert.Contains(t, p.Detail, "CERTIFICATE_VERIFY_FAILED")

	trusted := filepath.Join(t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: proxy.Certificate().Raw})
	require.NoError(t, os.WriteFile(trusted, block, 0o600))
	c := newPython(t, "SSL_CERT_FILE="+trusted)
	c.do("connect", obj{"url": proxy.URL + "/", "key": key})
	c.do("join", obj{"channels": []int{5}})
	c.do("broadcast", obj{"channels": []int{5}, "message": "hello"})
	assert.Equal(t, []any{"hello"}, c.heard(1))
}

// Every file that Python needs is one, and it runs with Debian's interpreter without a
// warning. Its syntax is that of 3.9.
func TestThePythonModuleIsForOldPython(t *testing.T) {
	check := `import ast, sys; ast.parse(open(sys.argv[1]).read(), feature_version=(3, 9))`
	out, err := exec.Command("/usr/bin/python3", "-W", "error", "-c", check, "python/watchtower.py").CombinedOutput()
	require.NoError(t, err, "%s", out)
	module, err := os.ReadFile("python/watchtower.py")
	require.NoError(t, err)
	assert.NotRegexp(t, regexp.MustCompile(`asyncio\.(timeout|TaskGroup|Runner)\b|ExceptionGroup|\bmatch \w+:`), string(module), "newer than 3.9")
}
