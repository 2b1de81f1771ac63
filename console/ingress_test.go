package console_test

import (
	"context"
	"net"
	nethttp "net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"

	"watchtower/config"
)

const ingressBase = "/api/hassio_ingress/aToken"

// houseIngress is a proxy that does what Home Assistant's ingress does: it takes its own path
// away, says in headers what that was and who is signed in, leaves compression to itself, and
// ends WebSockets itself, to begin others. It connects from 127.0.0.2.
type houseIngress struct {
	http *httputil.ReverseProxy
	dial websocket.Dialer
	to   *url.URL
}

func newHouseIngress(t testing.TB, to string) *httptest.Server {
	t.Helper()
	u, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	from := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	in := &houseIngress{to: u, dial: websocket.Dialer{NetDialContext: from.DialContext}}
	in.http = &httputil.ReverseProxy{
		Transport: &nethttp.Transport{DialContext: from.DialContext, DisableCompression: true},
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host = u.Scheme, u.Host
			r.Out.URL.Path = strings.TrimPrefix(r.In.URL.Path, ingressBase)
			r.Out.Host = r.In.Host
			r.Out.Header = in.headers(r.In)
		},
		FlushInterval: -1,
	}
	s := httptest.NewServer(in)
	t.Cleanup(s.Close)
	return s
}

// headers are those that it passes on.
func (in *houseIngress) headers(r *nethttp.Request) nethttp.Header {
	h := r.Header.Clone()
	for _, own := range []string{"Content-Length", "Transfer-Encoding", "Accept-Encoding", "Connection", "Upgrade", "Sec-WebSocket-Extensions", "Sec-WebSocket-Protocol", "Sec-WebSocket-Version", "Sec-WebSocket-Key"} {
		h.Del(own)
	}
	h.Set("X-Ingress-Path", ingressBase)
	h.Set("X-Hass-Source", "core.ingress")
	h.Set("X-Forwarded-Host", r.Host)
	h.Set("X-Forwarded-For", "127.0.0.1, 127.0.0.3")
	h.Set("X-Remote-User-Id", "0123456789abcdef")
	h.Set("X-Remote-User-Name", "ann")
	return h
}

func (in *houseIngress) ServeHTTP(w nethttp.ResponseWriter, r *nethttp.Request) {
	switch {
	case !strings.HasPrefix(r.URL.Path, ingressBase+"/"):
		nethttp.NotFound(w, r)
	case websocket.IsWebSocketUpgrade(r):
		in.socket(w, r)
	default:
		in.http.ServeHTTP(w, r)
	}
}

// socket passes frames on between two WebSockets until one of them ends.
func (in *houseIngress) socket(w nethttp.ResponseWriter, r *nethttp.Request) {
	near, err := (&websocket.Upgrader{}).Upgrade(w, r, nil)
	if err != nil {
		return
	}
	defer near.Close()
	h := in.headers(r)
	h.Set("Host", r.Host)
	far, _, err := in.dial.DialContext(context.Background(), "ws://"+in.to.Host+strings.TrimPrefix(r.URL.Path, ingressBase), h)
	if err != nil {
		return
	}
	defer far.Close()
	var both sync.WaitGroup
	pass := func(from, to *websocket.Conn) {
		defer to.Close()
		for {
			kind, b, err := from.ReadMessage()
			if err != nil || to.WriteMessage(kind, b) != nil {
				return
			}
		}
	}
	both.Go(func() { pass(near, far) })
	both.Go(func() { pass(far, near) })
	both.Wait()
}

// Through Home Assistant's ingress the console is signed in, live, and lets one speak.
func TestThroughTheIngressOfHomeAssistant(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *config.Config) { c.HTTP.Ingress = []netip.Prefix{netip.MustParsePrefix("127.0.0.2/32")} })
	token := r.device("kitchen", 5)
	in := newHouseIngress(t, r.url)
	p := openAt(t, in.URL+ingressBase+"/#/channels/5")
	p.reads("kitchen")
	r.says(token, 5, "moisture=75")
	p.reads("moisture=75")
	assert.False(t, evaluate[bool](p, `document.body.innerText.includes("Sign out")`), "Home Assistant signs in and out")
	p.goes("settings")
	p.reads("http.ingress")
	p.goes("start")
	p.reads("http://127.0.0.1:" + strings.SplitAfter(r.cfg.HTTP.Listen, ":")[1] + "/register")

	p = openAt(t, r.url)
	p.reads("Admin key")
}
