package http_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	nethttp "net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
	"watchtower/http"
)

// raw sends a request as text, and reads the answer.
func (g *gateway) raw(head string, headers ...string) answer {
	g.t.Helper()
	conn, err := net.Dial("tcp", g.server.Addr().String())
	require.NoError(g.t, err)
	defer conn.Close()
	require.NoError(g.t, conn.SetDeadline(time.Now().Add(20*time.Second)))
	_, err = fmt.Fprintf(conn, "%s\r\n%s\r\n\r\n", head, strings.Join(headers, "\r\n"))
	require.NoError(g.t, err)
	method, _, _ := strings.Cut(head, " ")
	resp, err := nethttp.ReadResponse(bufio.NewReader(conn), &nethttp.Request{Method: method})
	require.NoError(g.t, err)
	defer resp.Body.Close()
	if resp.StatusCode == 101 || resp.StatusCode == 200 && strings.Contains(head, "/channels/join?") {
		conn.Close() // a stream does not end by itself
		return answer{resp.StatusCode, resp.Header, ""}
	}
	b, err := io.ReadAll(resp.Body)
	require.NoError(g.t, err)
	return answer{resp.StatusCode, resp.Header, string(b)}
}

// everyCall has requests of each kind, without headers.
var everyCall = []string{
	"POST /register", "GET /channels?sender=ID", "GET /channels/join?channels=5&sender=ID", "POST /channels/join", "GET /messages?sender=ID",
	"POST /channels/join/async", "GET /callbacks?sender=ID", "POST /callbacks/rotate", "POST /callbacks/replay", "POST /channels/leave",
	"GET /channels/5/members?sender=ID", "DELETE /senders/ID", "POST /broadcast", "POST /send", "GET /mqtt", "GET /healthz", "HEAD /healthz",
	"GET /readyz", "GET /openapi.yaml", "GET /metrics", "GET /nothing", "PUT /broadcast", "OPTIONS /broadcast",
}

// members returns how many streams and mailboxes are on channels.
func (g *gateway) members() int {
	n, _ := g.hub.Directory().Counts()
	return n[http.Protocol]
}

func TestPagesOfOtherOrigins(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct {
		listed, headers []string
		refused         string // the header at fault
	}{
		"another":                         {nil, []string{"Origin: http://evil.example"}, "Origin"},
		"another scheme's port":           {nil, []string{"Origin: http://gw.lan:81"}, "Origin"},
		"another port":                    {nil, []string{"Origin: http://gw.lan:1880"}, "Origin"},
		"none that can be told":           {nil, []string{"Origin: null"}, "Origin"},
		"a file, in a browser":            {nil, []string{"Origin: file://", "Sec-Fetch-Site: cross-site"}, "Origin"},
		"an ESP32 with arduinoWebSockets": {nil, []string{"Origin: file://"}, ""},
		"nonsense":                        {nil, []string{"Origin: gw.lan"}, "Origin"},
		"one that is not listed":          {[]string{"https://dash.lan"}, []string{"Origin: http://dash.lan"}, "Origin"},
		"one that the host ends with":     {nil, []string{"Origin: http://lan"}, "Origin"},
		"a picture":                       {nil, []string{"Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors", "Sec-Fetch-Dest: image"}, "Sec-Fetch-Site"},
		"a picture of another port":       {nil, []string{"Sec-Fetch-Site: same-site", "Sec-Fetch-Mode: no-cors", "Sec-Fetch-Dest: image"}, "Sec-Fetch-Site"},
		"its own":                         {nil, []string{"Origin: http://gw.lan"}, ""},
		"its own, with the port":          {nil, []string{"Origin: http://GW.lan:80"}, ""},
		"its own, as the browser says":    {nil, []string{"Origin: https://front.example", "Sec-Fetch-Site: same-origin"}, ""},
		"its own picture":                 {nil, []string{"Sec-Fetch-Site: same-origin", "Sec-Fetch-Mode: no-cors"}, ""},
		"typed into the address bar":      {nil, []string{"Sec-Fetch-Site: none", "Sec-Fetch-Mode: navigate"}, ""},
		"one that is listed":              {[]string{"https://dash.lan"}, []string{"Origin: https://dash.lan", "Sec-Fetch-Site: cross-site"}, ""},
		"any, where all are listed":       {[]string{"*"}, []string{"Origin: null", "Sec-Fetch-Site: cross-site"}, ""},
		"a picture, where all are listed": {[]string{"*"}, []string{"Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors"}, ""},
		"no browser":                      {nil, nil, ""},
	} {
		t.Run(what, func(t *testing.T) {
			g := start(t, func(_ *bridge.Options, o *options) { o.CORSOrigins = c.listed })
			id, _ := g.register()
			for _, call := range everyCall {
				a := g.raw(strings.ReplaceAll(call, "ID", fmt.Sprint(id))+" HTTP/1.1", append([]string{"Host: gw.lan", "Content-Length: 0", "Connection: close"}, c.headers...)...)
				assert.Equal(t, "no-referrer", a.header.Get("Referrer-Policy"), call)
				if c.refused == "" {
					assert.NotEqual(t, 403, a.status, call)
					continue
				}
				if strings.HasPrefix(call, "HEAD") {
					assert.Equal(t, 403, a.status, call)
					continue
				}
				problem(t, a, 403, "foreign-origin", c.refused)
				assert.Contains(t, a.body, "http.cors_origins")
				assert.Contains(t, a.body, `\"gw.lan\"`, "the Host that arrived")
			}
			if c.refused != "" {
				assert.Zero(t, g.members(), "nothing is half done")
				assert.Equal(t, 200, g.post("/channels/leave", obj{"sender": id, "channels": []int{5}}).status, "it is still there")
			}
		})
	}
}

// A browser sends a form without asking the gateway first. Its body is not read.
func TestAFormOfAnotherOrigin(t *testing.T) {
	t.Parallel()
	g := start(t, func(b *bridge.Options, _ *options) { b.SecretKey = "" })
	_, token := g.register("name", "lamp")
	for _, media := range []string{"text/plain", "application/x-www-form-urlencoded", "multipart/form-data"} {
		a := g.raw("POST /register HTTP/1.1", "Host: 127.0.0.1", "Origin: http://evil.example", "Content-Type: "+media, "Content-Length: 1000000000")
		problem(t, a, 403, "foreign-origin", "Origin")
	}
	_, known := g.hub.Tokens().Sender(token)
	assert.True(t, known, "its token has not stopped")
}

// Following a link can read, but cannot act for a sender.
func TestALinkOnAnotherPage(t *testing.T) {
	t.Parallel()
	g := start(t)
	id, _ := g.register()
	link := []string{"Host: gw.lan", "Connection: close", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"}
	assert.Equal(t, 200, g.raw("GET /openapi.yaml HTTP/1.1", link...).status)
	assert.Equal(t, 404, g.raw("GET / HTTP/1.1", link...).status)
	problem(t, g.raw(fmt.Sprintf("GET /channels/join?channels=5&sender=%d HTTP/1.1", id), link...), 403, "foreign-origin", "Sec-Fetch-Site")
	problem(t, g.raw("GET /channels/join?channels=5&access_token=x HTTP/1.1", link...), 403, "foreign-origin", "Sec-Fetch-Site")
	problem(t, g.raw("POST /register HTTP/1.1", append(link, "Content-Length: 0")...), 403, "foreign-origin", "Sec-Fetch-Site")
	assert.Zero(t, g.members())
}

func TestHostsOfAnOpenGateway(t *testing.T) {
	t.Parallel()
	open := start(t, func(b *bridge.Options, o *options) {
		b.SecretKey = ""
		o.Hosts = []string{"Gateway.example.org", "*.house.example"}
		o.OwnHost = func(host string) bool { return host == "own.example" }
	})
	locked := start(t)
	for _, host := range []string{
		"", "127.0.0.1", "127.0.0.1:8080", "192.168.1.2", "[::1]", "[fe80::1]:8080", "localhost", "LOCALHOST:80", "kitchen", "kitchen:8080", "pi.local", "pi.local.",
		"pi.lan", "a.b.home.arpa", "gw.internal", "gw.fritz.box", "x.localhost", "gateway.example.org", "GATEWAY.example.org:8080", "a.house.example", "own.example",
	} {
		assert.NotEqual(t, 421, open.raw("GET /metrics HTTP/1.1", "Host: "+host, "Connection: close").status, host)
	}
	for _, host := range []string{
		"evil.example", "evil.example:8080", "127.0.0.1.nip.io", "local.evil.example", "evillocal.example", "evil.xlan", "x.gateway.example.org", "house.example", "own.example.evil",
	} {
		for _, call := range everyCall {
			if strings.HasSuffix(call, "z") {
				assert.NotEqual(t, 421, open.raw(call+" HTTP/1.1", "Host: "+host, "Connection: close").status, "monitoring")
				continue
			}
			a := open.raw(call+" HTTP/1.1", "Host: "+host, "Origin: http://"+host, "Content-Length: 0", "Connection: close")
			problem(t, a, 421, "foreign-host", "Host")
			assert.Contains(t, a.body, "http.hosts")
		}
		assert.Equal(t, 200, locked.raw("GET /metrics HTTP/1.1", "Host: "+host, "Connection: close").status, "with a key people's own names work")
	}
	assert.Equal(t, 200, open.raw("GET /metrics HTTP/1.0").status, "no browser")
	problem(t, open.raw("GET http://evil.example/metrics HTTP/1.1", "Host: 127.0.0.1", "Connection: close"), 421, "foreign-host", "Host")
	u, err := url.Parse(open.url)
	require.NoError(t, err)
	assert.Equal(t, 200, open.raw("GET /metrics HTTP/1.1", "Host: "+u.Host, "Connection: close").status)
}

// A request whose Upgrade a proxy removed is a GET that would join.
func TestAnUpgradeThatWasLost(t *testing.T) {
	t.Parallel()
	g := start(t)
	id, _ := g.register()
	join := fmt.Sprintf("GET /channels/join?channels=5&sender=%d HTTP/1.1", id)
	socket := []string{"Host: gw.lan", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="}
	for _, call := range []string{join, "GET /mqtt HTTP/1.1", "GET /nothing HTTP/1.1"} {
		for _, left := range [][]string{{"Connection: close"}, {"Connection: keep-alive"}, {"Upgrade: websocket"}, {"Connection: Upgrade"}, {"Connection: Upgrade", "Upgrade: h2c"}} {
			a := g.raw(call, append(left, socket...)...)
			problem(t, a, 426, "upgrade-lost", "Upgrade")
			assert.Contains(t, a.body, "proxy_set_header Upgrade")
			assert.Equal(t, "websocket", a.header.Get("Upgrade"))
		}
	}
	assert.Zero(t, g.members(), "nobody joined")
	assert.Equal(t, 101, g.raw(join, append([]string{"Connection: Upgrade", "Upgrade: websocket"}, socket...)...).status)
	assert.Equal(t, 200, g.raw(join, "Host: gw.lan", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c").status, "curl --http2")
}
