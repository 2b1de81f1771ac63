package http_test

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"io"
	nethttp "net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"watchtower/bridge"
	"watchtower/callback"
	"watchtower/config"
	"watchtower/history"
	"watchtower/http"
	"watchtower/http/contract"
	"watchtower/internal/harness"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// described is the description that every request and answer of the tests is checked against.
var described = func() *contract.Contract {
	c, err := contract.New("openapi.yaml")
	if err != nil {
		panic(err)
	}
	return c
}()

const secretKey = "s3cret & <more>"

// gateway is a server with a hub of its own.
type gateway struct {
	t       testing.TB
	hub     *bridge.Hub
	bus     *harness.Loopback
	server  *http.Server
	url     string
	client  *nethttp.Client
	streams *nethttp.Client // of follow
	stop    func()          // ends Serve and waits for it
}

// options are the options of the hub and of all servers here.
type options struct {
	http.Options
	History   history.Options
	Callbacks callback.Options
}

// defaults are the options of a gateway with nothing configured.
func defaults() options {
	settings := config.Default()
	drain := settings.ShutdownTimeout / 2
	return options{
		http.Options{HTTP: settings.HTTP, Limits: settings.Limits, DrainTimeout: drain},
		history.Options{History: settings.History},
		callback.Options{Callbacks: settings.Callbacks, Limits: settings.Limits, DrainTimeout: drain},
	}
}

type setting func(*bridge.Options, *options)

func start(t testing.TB, settings ...setting) *gateway {
	log := harness.Silent()
	log.SetLevel(logrus.DebugLevel)
	ho := bridge.Options{
		SecretKey: secretKey, Limits: config.Default().Limits, Linger: 30 * time.Second, ListedFor: time.Hour,
		Senders: config.Default().Senders, Tree: bridge.NewTree("watchtower", "test"), Log: log,
	}
	o := defaults()
	o.Listen = "127.0.0.1:0"
	o.Callbacks.Allow = []string{"127.0.0.1"}
	o.Callbacks.RetryGap = time.Millisecond
	for _, set := range settings {
		set(&ho, &o)
	}
	hub, bus := harness.Hub(t, http.Protocol, ho)
	o.History.Clock = o.Clock
	past := history.New(hub, o.History, log)
	callbacks, err := callback.New(hub, past, o.Callbacks, log)
	require.NoError(t, err)
	s := http.New(hub, past, callbacks, o.Options, log)
	require.NoError(t, s.Listen())
	if o.TLS != nil {
		require.NoError(t, s.ListenTLS())
	}
	end := harness.Serve(t, past.Serve, callbacks.Serve, s.Serve)
	g := &gateway{t: t, hub: hub, bus: bus, server: s, url: "http://" + s.Addr().String()}
	unlike := func(err error) { t.Error(err) }
	g.client = &nethttp.Client{Transport: described.Transport(&nethttp.Transport{MaxIdleConnsPerHost: 4}, unlike), Timeout: time.Minute}
	// A stream's connection ends with it: no other request may use it.
	g.streams = &nethttp.Client{Transport: described.Transport(&nethttp.Transport{}, unlike)}
	g.stop = sync.OnceFunc(func() {
		quiet, cancel := context.WithTimeout(context.Background(), time.Minute)
		s.Quiesce(quiet)
		cancel()
		end()
		g.client.CloseIdleConnections()
		g.streams.CloseIdleConnections()
	})
	t.Cleanup(g.stop)
	return g
}

// answer is a response that was read to its end.
type answer struct {
	status int
	header nethttp.Header
	body   string
}

func (a answer) json(t testing.TB) map[string]any {
	var v map[string]any
	require.NoError(t, json.Unmarshal([]byte(a.body), &v), a.body)
	return v
}

// do sends a request; headers are pairs of name and value.
func (g *gateway) do(method, path, body string, headers ...string) answer {
	g.t.Helper()
	req, err := nethttp.NewRequest(method, g.url+path, strings.NewReader(body))
	require.NoError(g.t, err)
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := g.client.Do(req)
	require.NoError(g.t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	require.NoError(g.t, err)
	return answer{resp.StatusCode, resp.Header, string(b)}
}

func (g *gateway) post(path string, v any, headers ...string) answer {
	g.t.Helper()
	return g.do("POST", path, encode(v), headers...)
}

func encode(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

type obj = map[string]any

// register returns the id and token of a new sender.
func (g *gateway) register(fields ...any) (id uint32, token string) {
	g.t.Helper()
	body := obj{"secret_key": secretKey}
	for i := 0; i < len(fields); i += 2 {
		body[fields[i].(string)] = fields[i+1]
	}
	a := g.post("/register", body)
	require.Equal(g.t, 200, a.status, a.body)
	var r struct {
		ID    uint32
		Token string
	}
	require.NoError(g.t, json.Unmarshal([]byte(a.body), &r))
	require.NotZero(g.t, r.ID)
	return r.ID, r.Token
}

// follower reads a stream.
type follower struct {
	t      testing.TB
	resp   *nethttp.Response
	lines  *bufio.Reader
	cancel func()
}

func (g *gateway) follow(query string, headers ...string) *follower {
	g.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	req, err := nethttp.NewRequestWithContext(ctx, "GET", g.url+"/channels/join?"+query, nil)
	require.NoError(g.t, err)
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := g.streams.Do(req)
	require.NoError(g.t, err)
	require.Equal(g.t, 200, resp.StatusCode)
	f := &follower{g.t, resp, newReader(resp.Body), cancel}
	g.t.Cleanup(f.close)
	return f
}

func newReader(r io.Reader) *bufio.Reader { return bufio.NewReaderSize(r, 1<<20) }

func (f *follower) close() {
	f.cancel()
	_ = f.resp.Body.Close()
}

// line returns the next line, also an empty one.
func (f *follower) line() string {
	f.t.Helper()
	text, err := f.lines.ReadString('\n')
	require.NoError(f.t, err)
	return strings.TrimSuffix(text, "\n")
}

// next returns the next message.
func (f *follower) next() obj {
	f.t.Helper()
	for {
		text := f.line()
		if text == "" {
			continue
		}
		var v obj
		require.NoError(f.t, json.Unmarshal([]byte(text), &v), text)
		require.NoError(f.t, described.Check("Heard", []byte(text)))
		return v
	}
}

// rest reads to the end of the stream.
func (f *follower) rest() (string, error) {
	b, err := io.ReadAll(f.lines)
	return string(b), err
}

// receiver takes callbacks.
type receiver struct {
	*httptest.Server
	got chan posted
}

type posted struct {
	body   string
	header nethttp.Header
}

func (p posted) json(t testing.TB) obj { return answer{body: p.body}.json(t) }

// receive starts a receiver. answer writes its answers; nil: always 200.
func receive(t testing.TB, answer func(w nethttp.ResponseWriter, body string)) *receiver {
	r := &receiver{got: make(chan posted, 10000)}
	r.Server = httptest.NewServer(nethttp.HandlerFunc(func(w nethttp.ResponseWriter, req *nethttp.Request) {
		var b bytes.Buffer
		_, _ = b.ReadFrom(req.Body)
		if answer != nil {
			answer(w, b.String())
		}
		r.got <- posted{b.String(), req.Header}
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) next(t testing.TB) posted {
	t.Helper()
	select {
	case p := <-r.got:
		kind, _, _ := strings.Cut(p.header.Get("webhook-id"), "-")
		schema := cmp.Or(map[string]string{"report": "Report", "gap": "Gap"}[kind], "HeardMessage")
		require.NoError(t, described.Check(schema, []byte(p.body)))
		return p
	case <-time.After(30 * time.Second):
		require.FailNow(t, "no callback came")
		return posted{}
	}
}

// undelivered returns how many deliveries were dropped for callbacks.
func (g *gateway) undelivered(why bridge.Reason) int {
	return int(g.hub.Counters().Dropped(callback.Protocol, why))
}

func (g *gateway) dropped(why bridge.Reason) int {
	return int(g.hub.Counters().Dropped(http.Protocol, why))
}

func problem(t testing.TB, a answer, status int, code, field string) {
	t.Helper()
	require.Equal(t, status, a.status, a.body)
	assert.Equal(t, "application/problem+json", a.header.Get("Content-Type"))
	p := a.json(t)
	assert.Equal(t, "urn:watchtower:problem:"+code, p["type"])
	assert.EqualValues(t, status, p["status"])
	assert.NotEmpty(t, p["title"])
	assert.NotEmpty(t, p["detail"])
	if field != "" {
		assert.Equal(t, field, p["field"])
		assert.Contains(t, p["detail"], field)
	}
	if status == 401 {
		assert.Equal(t, "Bearer", a.header.Get("WWW-Authenticate"))
	}
}
