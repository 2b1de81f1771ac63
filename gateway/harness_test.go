package gateway_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	nethttp "net/http"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"watchtower/bridge"
	"watchtower/config"
	"watchtower/gateway"
	"watchtower/http/contract"
	"watchtower/internal/harness"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

const (
	key     = "correct horse battery"
	patient = 30 * time.Second // longest that a test waits for something that has to happen
	lenient = time.Minute      // the same where no setting is looked at, for a machine that is busy
)

// running is a whole gateway on loopback.
type running struct {
	t    testing.TB
	g    *gateway.Gateway
	cfg  config.Config
	at   addresses
	log  *syncBuffer
	stop func()
}

// syncBuffer keeps what was logged.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func testConfig(t testing.TB) config.Config {
	cfg := config.Default()
	cfg.HTTP.Listen, cfg.UDP.Listen, cfg.TCP.Listen, cfg.MQTT.Listen = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	cfg.IRC.Listen = "127.0.0.1:0"
	cfg.DataDir = t.TempDir()
	cfg.SecretKey = key
	cfg.Callbacks.Allow = []string{"127.0.0.1"}
	return cfg
}

// start runs a gateway until the test ends.
func start(t testing.TB, change func(*config.Config)) *running {
	t.Helper()
	cfg := testConfig(t)
	if change != nil {
		change(&cfg)
	}
	return startWith(t, cfg)
}

func startWith(t testing.TB, cfg config.Config, before ...func(*gateway.Gateway)) *running {
	t.Helper()
	return startWithOptions(t, cfg, nil, before...)
}

func startWithOptions(t testing.TB, cfg config.Config, options []gateway.Option, before ...func(*gateway.Gateway)) *running {
	t.Helper()
	r := &running{t: t, cfg: cfg, log: &syncBuffer{}}
	log := logrus.New()
	log.SetOutput(r.log)
	log.SetLevel(logrus.DebugLevel)
	var err error
	r.g, err = gateway.New(cfg, log, options...)
	require.NoError(t, err)
	for _, f := range before {
		f(r.g)
	}
	require.NoError(t, r.g.Listen())
	r.at = addressesOf(r.g)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.g.Serve(ctx) }()
	var once sync.Once
	r.stop = func() {
		once.Do(func() {
			cancel()
			require.NoError(t, <-done)
		})
	}
	t.Cleanup(func() { r.stop(); isAsDescribed(t) })
	return r
}

func (r *running) dropped(p bridge.Protocol, reason bridge.Reason) int {
	return int(r.g.Hub().Counters().Dropped(p, reason))
}

// malformed returns how many datagrams were no frames. They may be more than a test has sent: a device of
// another test, which has ended, may still send to a port that was its gateway's.
func (r *running) malformed() int { return r.dropped(viaUDP, bridge.Malformed) }

// eventually waits for a condition.
func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	require.True(t, harness.Within(patient, f), what)
}

// call makes an HTTP request and returns status and body.
func (r *running) call(method, path, contentType, body string, header ...string) (int, string) {
	r.t.Helper()
	req, err := nethttp.NewRequest(method, "http://"+r.at.HTTP+path, strings.NewReader(body))
	require.NoError(r.t, err)
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := web.Do(req)
	require.NoError(r.t, err)
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	require.NoError(r.t, err)
	return res.StatusCode, string(b)
}

// described is what every request and answer over HTTP is held against.
var described = func() *contract.Contract {
	c, err := contract.New("../http/openapi.yaml")
	if err != nil {
		panic(err)
	}
	return c
}()

// undescribed collects what was not as described, until a test ends and fails for it.
var undescribed = make(chan error, 100)

// web keeps no connection open, so that none outlives its test.
var web = &nethttp.Client{
	Transport: described.Transport(&nethttp.Transport{DisableKeepAlives: true}, func(err error) {
		select {
		case undescribed <- err:
		default: // a hundred are enough
		}
	}),
	Timeout: 2 * patient,
}

// isAsDescribed fails the test if something was not.
func isAsDescribed(t testing.TB) {
	for {
		select {
		case err := <-undescribed:
			t.Error(err)
		default:
			return
		}
	}
}

// post posts JSON and requires 200.
func (r *running) post(path, body string, into any) {
	r.t.Helper()
	status, answer := r.call("POST", path, "application/json", body)
	require.Equal(r.t, 200, status, answer)
	if into != nil {
		require.NoError(r.t, json.Unmarshal([]byte(answer), into))
	}
}

type registration struct {
	ID    uint32
	Token string
}

func (r *running) register(name string) (reg registration) {
	r.t.Helper()
	body := fmt.Sprintf(`{"secret_key":%q}`, key)
	if name != "" {
		body = fmt.Sprintf(`{"secret_key":%q,"name":%q}`, key, name)
	}
	r.post("/register", body, &reg)
	return reg
}

// follow opens a stream, and returns once it is joined.
func (r *running) follow(query string, each func([]byte)) (end func()) {
	r.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	req, err := nethttp.NewRequestWithContext(ctx, "GET", "http://"+r.at.HTTP+"/channels/join?"+query, nil)
	require.NoError(r.t, err)
	res, err := (&nethttp.Client{Transport: &nethttp.Transport{DisableKeepAlives: true}}).Do(req)
	require.NoError(r.t, err)
	require.Equal(r.t, 200, res.StatusCode)
	var reading sync.WaitGroup
	reading.Go(func() {
		defer res.Body.Close()
		in := bufio.NewReaderSize(res.Body, 200000)
		for {
			b, err := in.ReadBytes('\n')
			if err != nil {
				return
			}
			if len(b) > 1 {
				each(b)
			}
		}
	})
	end = func() { cancel(); reading.Wait() }
	r.t.Cleanup(end)
	return end
}

// program finds a program that the tests need, or fails and says how to get it.
func program(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	require.NoError(t, err, "%s is missing: make setup installs it", name)
	return path
}

// run runs a program to its end and returns what it printed.
func run(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	require.NoError(t, err, "%s %s: %s", name, strings.Join(args, " "), out)
	return string(out)
}
