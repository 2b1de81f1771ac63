package gateway_test

import (
	"context"
	"fmt"
	"io"
	"net"
	nethttp "net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/config"
	"watchtower/internal/harness"
)

// proxy is a reverse proxy and its configuration in examples/proxies.
type proxy struct {
	program string
	args    []string // DIR is a directory of its own, FILE the configuration, ADDRESS where it listens
	file    string
	// beats is with which heartbeat at the latest a client that has left is noticed; 0:
	// at once. docs/proxies.md says so.
	beats int
}

var proxies = map[string]proxy{
	"nginx":    {"nginx", []string{"-p", "DIR", "-c", "FILE", "-g", "daemon off;"}, "nginx.conf", 0},
	"haproxy":  {"haproxy", []string{"-db", "-f", "FILE"}, "haproxy.cfg", 0},
	"Apache":   {"apache2", []string{"-d", "DIR", "-f", "FILE", "-DFOREGROUND"}, "apache.conf", 2},
	"Caddy":    {"caddy", []string{"run", "--config", "FILE", "--adapter", "caddyfile"}, "Caddyfile", 0},
	"lighttpd": {"lighttpd", []string{"-D", "-f", "FILE"}, "lighttpd.conf", 1},
	"Varnish":  {"varnishd", []string{"-F", "-n", "DIR", "-f", "FILE", "-a", "ADDRESS", "-p", "pipe_timeout=3600"}, "varnish.vcl", 0},
	"Squid":    {"squid", []string{"-N", "-f", "FILE"}, "squid.conf", 0},
}

// start runs the proxy in front of a gateway by its file, with other ports, and returns
// where it listens.
func (p proxy) start(t testing.TB, gateway string) string {
	t.Helper()
	b, err := os.ReadFile("../examples/proxies/" + p.file)
	require.NoError(t, err)
	at := harness.FreeAddress(t)
	_, port, _ := net.SplitHostPort(at)
	_, to, _ := net.SplitHostPort(gateway)
	dir := t.TempDir()
	for _, d := range []string{dir, filepath.Dir(dir)} { // what root starts may read it as somebody else
		require.NoError(t, os.Chmod(d, 0o755))
	}
	file := filepath.Join(dir, p.file)
	configuration := strings.NewReplacer("8000", port, "8080", to, "/tmp/watchtower-proxy", dir).Replace(string(b))
	require.NoError(t, os.WriteFile(file, []byte(configuration), 0o644))
	args := make([]string, len(p.args))
	for i, a := range p.args {
		args[i] = strings.NewReplacer("DIR", dir, "FILE", file, "ADDRESS", at).Replace(a)
	}
	ctx, stop := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, daemon(t, p.program), args...)
	cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = patient
	said := &syncBuffer{}
	cmd.Stdout, cmd.Stderr = said, said
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		stop()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%s said:\n%s", p.program, said)
		}
	})
	require.Eventually(t, func() bool {
		conn, err := net.Dial("tcp", at)
		if err == nil {
			conn.Close()
		}
		return err == nil
	}, 4*patient, 10*time.Millisecond, "%s listens", p.program)
	return at
}

// daemon finds a program, also where only the administrator's PATH leads.
func daemon(t testing.TB, name string) string {
	t.Helper()
	for _, dir := range []string{"/usr/sbin/", "/usr/local/sbin/", "/sbin/"} {
		if _, err := os.Stat(dir + name); err == nil {
			return dir + name
		}
	}
	return program(t, name)
}

func TestBehindNginx(t *testing.T) {
	t.Parallel()
	testBehind(t, proxies["nginx"])
}

func TestBehindHaproxy(t *testing.T) {
	t.Parallel()
	testBehind(t, proxies["haproxy"])
}

// testBehind starts a proxy by its example, and does through it whatever clients do.
func testBehind(t *testing.T, p proxy) {
	const beat = time.Second
	r := start(t, func(c *config.Config) {
		c.HTTP.Heartbeat, c.HTTP.Linger = beat, 0
		if p.beats == 0 {
			c.HTTP.Heartbeat = 10 * time.Minute // nothing but the proxy tells that somebody has left
		}
		c.HTTP.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
		c.Limits.Failures, c.Limits.FailureInterval = 5, time.Hour
	})
	gateway := r.at.HTTP
	r.at.HTTP = p.start(t, gateway) // all the rest goes through it
	eventually(t, "it has found the gateway", func() bool {
		res, err := web.Get("http://" + r.at.HTTP + "/healthz")
		if err == nil {
			res.Body.Close()
		}
		return err == nil && res.StatusCode == 200
	})
	for name, accept := range map[string]string{"lines": "application/x-ndjson", "events": "text/event-stream"} {
		t.Run(name, func(t *testing.T) { r.on(t).streamsAtOnce(accept) })
		t.Run("who leaves "+name, func(t *testing.T) {
			r.on(t).noticesWhoLeaves(accept, time.Duration(p.beats+1)*beat+5*time.Second)
		})
	}
	t.Run("a WebSocket of a page", func(t *testing.T) { r.on(t).servesThePage() })
	t.Run("a poll", func(t *testing.T) { r.on(t).polls() })
	t.Run("MQTT", func(t *testing.T) { r.on(t).servesMQTT() })
	t.Run("who is blamed", func(t *testing.T) { r.on(t).blamesTheClient() })
}

// on is the same gateway for a part of a test.
func (r *running) on(t testing.TB) *running {
	part := *r
	part.t = t
	return &part
}

// open asks for a stream, and closes it when the test ends.
func (r *running) open(id uint32, accept string) (body io.ReadCloser, leave func()) {
	ctx, leave := context.WithCancel(context.Background())
	r.t.Cleanup(leave)
	req, err := nethttp.NewRequestWithContext(ctx, "GET", fmt.Sprintf("http://%s/channels/join?channels=5&sender=%d&linger=false", r.at.HTTP, id), nil)
	require.NoError(r.t, err)
	req.Header.Set("Accept", accept)
	res, err := (&nethttp.Transport{DisableKeepAlives: true, ResponseHeaderTimeout: patient}).RoundTrip(req)
	require.NoError(r.t, err)
	r.t.Cleanup(func() { res.Body.Close() })
	require.Equal(r.t, 200, res.StatusCode)
	assert.Equal(r.t, "no-store, no-transform", res.Header.Get("Cache-Control"))
	return res.Body, leave
}

// streamsAtOnce checks that messages wait neither for the next one nor for a timer of the
// proxy: the quickest of some comes at once.
func (r *running) streamsAtOnce(accept string) {
	id := r.register("").ID
	body, _ := r.open(id, accept)
	heard := make(chan string, 100)
	go func() { // ends with the stream
		defer close(heard)
		b := make([]byte, 64<<10)
		for text := ""; ; {
			n, err := body.Read(b)
			if err != nil {
				return
			}
			text += string(b[:n])
			for strings.Contains(text, "\n") {
				var line string
				line, text, _ = strings.Cut(text, "\n")
				heard <- line
			}
		}
	}()
	const quick = 150 * time.Millisecond
	quickest := patient
	for i, until := 0, time.Now().Add(patient); i < 8 || quickest >= quick && time.Now().Before(until); i++ { // a busy machine is slow now and then
		want := fmt.Sprintf(`"message":"%d, whole"`, i)
		begun := time.Now()
		r.post("/broadcast", fmt.Sprintf(`{"sender":%d,"channels":[5],"message":"%d, whole"}`, id, i), nil)
		for late := time.After(patient); ; {
			select {
			case line, ok := <-heard:
				require.True(r.t, ok, "the stream goes on")
				if strings.Contains(line, want) {
					quickest = min(quickest, time.Since(begun))
					late = nil
				}
			case <-late:
				require.FailNow(r.t, "message "+want+" is held back")
			}
			if late == nil {
				break
			}
		}
	}
	assert.Less(r.t, quickest, quick, "no message waits for anything")
}

// members counts those over HTTP.
func (r *running) members() int {
	n, _ := r.g.Hub().Directory().Counts()
	return n[viaHTTP]
}

func (r *running) noticesWhoLeaves(accept string, within time.Duration) {
	eventually(r.t, "nobody is there", func() bool { return r.members() == 0 })
	_, leave := r.open(r.register("").ID, accept)
	require.Equal(r.t, 1, r.members())
	leave()
	require.Eventually(r.t, func() bool { return r.members() == 0 }, within, 5*time.Millisecond)
}

// servesThePage holds that a page of the proxy's origin may open a WebSocket, and that
// one of another may not, and is told by which name the gateway was asked for.
func (r *running) servesThePage() {
	id := r.register("").ID
	url := fmt.Sprintf("ws://%s/channels/join?channels=6&sender=%d&linger=false", r.at.HTTP, id)
	dial := websocket.Dialer{HandshakeTimeout: patient}
	conn, _, err := dial.Dial(url, nethttp.Header{"Origin": {"http://" + r.at.HTTP}})
	require.NoError(r.t, err)
	defer conn.Close()
	require.NoError(r.t, conn.SetReadDeadline(time.Now().Add(patient)))
	require.NoError(r.t, conn.WriteMessage(websocket.TextMessage, []byte(`{"type":"broadcast","channels":[6],"message":"hello"}`)))
	_, b, err := conn.ReadMessage()
	require.NoError(r.t, err)
	assert.Equal(r.t, "hello", line(r.t, b).data)
	conn.Close()
	require.Eventually(r.t, func() bool { return r.members() == 0 }, 5*time.Second, 5*time.Millisecond, "it has left")

	_, res, err := dial.Dial(url, nethttp.Header{"Origin": {"http://evil.example"}})
	require.Error(r.t, err)
	require.NotNil(r.t, res, err)
	b, _ = io.ReadAll(res.Body)
	assert.Equal(r.t, 403, res.StatusCode)
	assert.Contains(r.t, string(b), r.at.HTTP, "the Host that arrived")
}

func (r *running) polls() {
	id := r.register("").ID
	body := fmt.Sprintf(`{"sender":%d,"channels":[7]}`, id)
	r.post("/channels/join", body, nil)
	path := fmt.Sprintf("/messages?sender=%d&wait=", id)
	begun := time.Now()
	status, text := r.call("GET", path+"2", "", "")
	require.Equal(r.t, 200, status, text)
	assert.GreaterOrEqual(r.t, time.Since(begun), 2*time.Second, "nothing was said")
	begun = time.Now()
	time.AfterFunc(300*time.Millisecond, func() { // the poll waits for it
		r.post("/broadcast", fmt.Sprintf(`{"sender":%d,"channels":[7],"message":"now"}`, id), nil)
	})
	status, text = r.call("GET", path+"20", "", "")
	require.Equal(r.t, 200, status, text)
	assert.Contains(r.t, text, `"now"`)
	assert.Less(r.t, time.Since(begun), patient)
	r.post("/channels/leave", body, nil)
}

// servesMQTT holds that a client of npm speaks and hears over a WebSocket.
func (r *running) servesMQTT() {
	page := r.webSocket("behind")
	page.broadcast(5, []byte("over MQTT"))
	select {
	case m := <-page.inbox:
		assert.Equal(r.t, received{page.id, 5, false, "over MQTT"}, m)
	case <-time.After(patient):
		require.Fail(r.t, "it hears nothing")
	}
}

// blamesTheClient holds that wrong keys shut out who showed them, whatever he says of
// himself, and nobody else.
func (r *running) blamesTheClient() {
	show := func(address, says, secret string) int {
		client := &nethttp.Client{Transport: &nethttp.Transport{DialContext: from("tcp", address).DialContext, DisableKeepAlives: true}, Timeout: patient}
		req, err := nethttp.NewRequest("POST", "http://"+r.at.HTTP+"/register", strings.NewReader(fmt.Sprintf(`{"secret_key":%q}`, secret)))
		require.NoError(r.t, err)
		req.Header.Set("X-Forwarded-For", says)
		res, err := client.Do(req)
		require.NoError(r.t, err)
		defer res.Body.Close()
		return res.StatusCode
	}
	for i := range 6 {
		want := 401
		if i == 5 {
			want = 429
		}
		assert.Equal(r.t, want, show("127.0.0.2", fmt.Sprintf("203.0.113.%d", i+1), "wrong"), "he says that he is another each time")
	}
	assert.Equal(r.t, 429, show("127.0.0.2", "127.0.0.3", key))
	assert.Equal(r.t, 200, show("127.0.0.3", "127.0.0.2", key), "his address is another's excuse for nothing")
}
