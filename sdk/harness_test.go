package sdk_test

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	nethttp "net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"watchtower/config"
	"watchtower/gateway"
	"watchtower/internal/harness"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const key = "correct \"horse\" bättery" // a key has any characters

// house is a gateway, which can be stopped and started again.
type house struct {
	t    testing.TB
	cfg  config.Config
	at   string
	g    *gateway.Gateway
	stop func()
}

func start(t testing.TB, change func(*config.Config)) *house {
	cfg := config.Default()
	cfg.HTTP.Listen, cfg.UDP.Listen, cfg.TCP.Listen, cfg.MQTT.Listen = harness.FreeAddress(t), "", "", "127.0.0.1:0"
	cfg.DataDir, cfg.SecretKey = t.TempDir(), key
	if change != nil {
		change(&cfg)
	}
	h := &house{t: t, cfg: cfg, at: cfg.HTTP.Listen}
	h.start()
	return h
}

func (h *house) start() {
	h.t.Helper()
	var err error
	h.g, err = gateway.New(h.cfg, harness.Silent())
	require.NoError(h.t, err)
	require.NoError(h.t, h.g.Listen())
	h.stop = harness.Serve(h.t, h.g.Serve)
}

// members returns the number of memberships over HTTP.
func (h *house) members() (n int) {
	h.t.Helper()
	_, metrics := h.call("GET", "/metrics", "")
	_, rest, _ := strings.Cut(metrics, "\nwatchtower_members{protocol=\"http\"} ")
	_, err := fmt.Sscan(rest, &n)
	require.NoError(h.t, err)
	return n
}

var web = &nethttp.Client{Transport: &nethttp.Transport{DisableKeepAlives: true, DisableCompression: true}}

// call makes a request and returns its answer.
func (h *house) call(method, path, body string, header ...string) (*nethttp.Response, string) {
	h.t.Helper()
	req, err := nethttp.NewRequest(method, "http://"+h.at+path, strings.NewReader(body))
	require.NoError(h.t, err)
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := web.Do(req)
	require.NoError(h.t, err)
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	require.NoError(h.t, err)
	return res, string(b)
}

// speaker is a sender on channel 5 that only speaks: a mailbox keeps it there.
type speaker struct {
	h     *house
	id    uint32
	token string
}

func (h *house) speaker() *speaker {
	h.t.Helper()
	s := &speaker{h: h}
	reg := h.register("")
	s.id, s.token = reg.ID, reg.Token
	s.post("/channels/join", obj{"channels": []int{5, 6}})
	return s
}

type registration struct {
	ID    uint32
	Token string
}

func (h *house) register(name string) (reg registration) {
	h.t.Helper()
	body := obj{"secret_key": key}
	if name != "" {
		body["name"] = name
	}
	_, text := h.call("POST", "/register", encode(h.t, body))
	require.NoError(h.t, json.Unmarshal([]byte(text), &reg), text)
	return reg
}

func (s *speaker) post(path string, body obj) string {
	s.h.t.Helper()
	body["sender"] = s.id
	res, text := s.h.call("POST", path, encode(s.h.t, body), "Authorization", "Bearer "+s.token)
	require.Equal(s.h.t, 200, res.StatusCode, text)
	return text
}

func (s *speaker) say(message any) string {
	s.h.t.Helper()
	var said struct{ ID string }
	require.NoError(s.h.t, json.Unmarshal([]byte(s.post("/broadcast", obj{"channels": []int{5}, "message": message})), &said))
	return said.ID
}

// count says "message 0" to n.
func (s *speaker) count(from, to int) (all []any) {
	s.h.t.Helper()
	for i := from; i < to; i++ {
		all = append(all, fmt.Sprint("message ", i))
		s.say(all[len(all)-1])
	}
	return all
}

// withoutUpgrade is a proxy that speaks HTTP/1.1 and does not pass Upgrade on.
func withoutUpgrade(at string) *httputil.ReverseProxy {
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: at})
			r.Out.Host = r.In.Host
			r.Out.Header.Del("Upgrade")
			r.Out.Header.Del("Connection")
		},
		FlushInterval: -1,
		Transport:     &nethttp.Transport{DisableKeepAlives: true},
		ErrorLog:      log.New(io.Discard, "", 0),
	}
}

// kept returns how many messages the history of channel 5 has.
func (h *house) kept() int {
	h.t.Helper()
	s := &speaker{h: h}
	reg := h.register("")
	s.id, s.token = reg.ID, reg.Token
	s.post("/channels/join", obj{"channels": []int{5}, "since": "all"})
	_, text := h.call("GET", fmt.Sprintf("/messages?sender=%d", s.id), "")
	return strings.Count(text, `"channel":5`)
}

// shortToken asks for a short token.
func (h *house) shortToken(token string, body obj) string {
	h.t.Helper()
	res, text := h.call("POST", "/tokens", encode(h.t, body), "Authorization", "Bearer "+token)
	require.Equal(h.t, 200, res.StatusCode, text)
	var made struct{ Token string }
	require.NoError(h.t, json.Unmarshal([]byte(text), &made))
	return made.Token
}
