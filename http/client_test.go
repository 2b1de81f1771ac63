package http_test

import (
	"bufio"
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/auth"
	"watchtower/bridge"
	"watchtower/config"
	"watchtower/internal/harness"
)

// clock is a clock that stands still.
type clock struct{ ns atomic.Int64 }

func (c *clock) now() time.Time { return time.Unix(1e9, c.ns.Load()) }

// gate is one that logs nothing.
// limits are the usual ones, but for those that are given.
func limits(failures int, interval time.Duration) config.Limits {
	l := config.Default().Limits
	l.Failures, l.FailureInterval = cmp.Or(failures, l.Failures), cmp.Or(interval, l.FailureInterval)
	return l
}

func gate(o auth.Options) *auth.Gate {
	log := harness.Silent()
	return auth.NewGate(o, log)
}

func TestWrongCredentialsAreLimited(t *testing.T) {
	t.Parallel()
	var c clock
	g := start(t, func(_ *bridge.Options, o *options) { o.Gate = gate(auth.Options{Limits: limits(0, 0), Now: c.now}) })
	id, token := g.register()
	channels := fmt.Sprintf("/channels?sender=%d", id)
	wrong := []func() answer{
		func() answer { return g.do("POST", "/register", `{"secret_key":"x"}`) },
		func() answer { return g.do("GET", "/channels?sender=1", "") },
		func() answer { return g.do("GET", channels, "", "Authorization", "Bearer x") },
	}
	for range 100 { // these are not guesses, and do not count
		require.Equal(t, 401, g.do("GET", "/channels", "").status)
	}
	for i := range 60 {
		require.Equal(t, 401, wrong[i%3]().status, i)
	}
	for _, path := range []string{channels, "/nothing"} {
		a := g.do("GET", path, "")
		problem(t, a, 429, "too-many-failures", "")
		assert.Equal(t, "1", a.header.Get("Retry-After"))
	}
	problem(t, g.post("/register", obj{"secret_key": secretKey}), 429, "too-many-failures", "")
	assert.Equal(t, 204, g.do("GET", channels, "", "Authorization", "Bearer "+token).status, "a valid token passes")
	assert.Equal(t, 200, g.do("GET", "/healthz", "").status)
	assert.Equal(t, 200, g.do("GET", "/metrics", "").status)
	c.ns.Add(int64(time.Second))
	assert.Equal(t, 204, g.do("GET", channels, "").status, "one a second is forgiven")
	require.Equal(t, 401, wrong[0]().status)
	assert.Equal(t, 429, g.do("GET", channels, "").status)
	c.ns.Add(int64(time.Minute))
	assert.Equal(t, 204, g.do("GET", channels, "").status)
}

func TestATokenLiftsTheLimitForItsOwnSenderOnly(t *testing.T) {
	t.Parallel()
	g := start(t, func(_ *bridge.Options, o *options) {
		o.Gate = gate(auth.Options{Limits: limits(3, time.Hour)})
		o.ServeMQTT = func(net.Conn) {}
	})
	id, token := g.register()
	other, _ := g.register()
	mine := []string{"Authorization", "Bearer " + token}
	for range 3 {
		require.Equal(t, 401, g.do("POST", "/register", `{"secret_key":"x"}`, mine...).status)
	}
	for _, its := range []struct{ method, path, body string }{
		{"GET", fmt.Sprintf("/channels?sender=%d", id), ""},
		{"POST", "/channels/leave", fmt.Sprintf(`{"sender":%d,"channels":[5]}`, id)},
		{"GET", fmt.Sprintf("/callbacks?sender=%d", id), ""},
	} {
		a := g.do(its.method, its.path, its.body, mine...)
		assert.Less(t, a.status, 300, "%s %s: %s", its.method, its.path, a.body)
		problem(t, g.do(its.method, its.path, its.body), 429, "too-many-failures", "")
	}
	for _, not := range []struct{ method, path, body string }{
		{"POST", "/register", fmt.Sprintf(`{"secret_key":%q}`, secretKey)},
		{"POST", "/register", fmt.Sprintf(`{"secret_key":%q,"name":"new"}`, secretKey)},
		{"POST", "/register", `{"secret_key":"x"}`},
		{"GET", fmt.Sprintf("/channels?sender=%d", other), ""},
		{"GET", fmt.Sprintf("/channels?sender=%d", id+1), ""},
		{"POST", "/channels/leave", fmt.Sprintf(`{"sender":%d,"channels":[5]}`, other)},
		{"DELETE", fmt.Sprintf("/senders/%d", other), ""},
		{"GET", "/mqtt", ""},
		{"GET", "/openapi.yaml", ""},
		{"GET", "/sendersof", ""},
	} {
		a := g.do(not.method, not.path, not.body, mine...)
		problem(t, a, 429, "too-many-failures", "")
		assert.NotEmpty(t, a.header.Get("Retry-After"))
	}
	m := g.do("GET", "/metrics", "").body
	assert.Contains(t, m, `watchtower_refused_total{protocol="http",reason="wrong_key"} 3`)
	assert.NotContains(t, m, `watchtower_refused_total{protocol="http",reason="waiting"} 0`)
}

// A request that began before its address had to wait does not bypass the limit.
func TestRequestsThatBeganBeforeWaitToo(t *testing.T) {
	t.Parallel()
	g := start(t, func(_ *bridge.Options, o *options) {
		o.Gate = gate(auth.Options{Limits: limits(3, time.Hour)})
	})
	id, _ := g.register()
	begin := func(path, body string) (finish func() string) {
		c, err := net.Dial("tcp", g.server.Addr().String())
		require.NoError(t, err)
		t.Cleanup(func() { c.Close() })
		fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", path, len(body))
		in := bufio.NewReader(c)
		line, err := in.ReadString('\n')
		require.NoError(t, err)
		require.Contains(t, line, "100") // its body is read: the guard has let it in
		_, _ = in.ReadString('\n')
		return func() string {
			fmt.Fprint(c, body)
			line, err := in.ReadString('\n')
			require.NoError(t, err)
			return line
		}
	}
	right := begin("/register", fmt.Sprintf(`{"secret_key":%q}`, secretKey))
	its := begin("/channels/leave", fmt.Sprintf(`{"sender":%d,"channels":[5]}`, id))
	for range 3 {
		require.Equal(t, 401, g.do("POST", "/register", `{"secret_key":"x"}`).status)
	}
	assert.Contains(t, right(), "429")
	assert.Contains(t, its(), "429")
}

func TestLimitIsByClientAddress(t *testing.T) {
	t.Parallel()
	var c clock
	g := start(t, func(_ *bridge.Options, o *options) {
		o.Gate = gate(auth.Options{Limits: limits(1, 0), Now: c.now, Addresses: 2})
		o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32"), netip.MustParsePrefix("::ffff:10.0.0.0/104")}
	})
	try := func(forwarded string) int {
		return g.do("POST", "/register", `{"secret_key":"x"}`, "X-Forwarded-For", forwarded).status
	}
	assert.Equal(t, 401, try("192.0.2.1"))
	assert.Equal(t, 429, try("192.0.2.1"))
	assert.Equal(t, 429, try("198.51.100.9, 192.0.2.1:4711, 10.1.1.1"), "the last that is not a proxy")
	assert.Equal(t, 401, try("2001:db8::1"))
	assert.Equal(t, 429, try("[2001:db8::2]:80"), "one /64")
	assert.Equal(t, 401, try("2001:db8:0:1::1"), "another: the oldest makes room")
	assert.Equal(t, 401, try("nonsense"), "the proxy itself")
}

func TestForwardedForIsNotBelievedFromStrangers(t *testing.T) {
	t.Parallel()
	g := start(t, func(_ *bridge.Options, o *options) { o.Gate = gate(auth.Options{Limits: limits(1, time.Hour)}) })
	require.Equal(t, 401, g.do("POST", "/register", `{"secret_key":"x"}`, "X-Forwarded-For", "192.0.2.1").status)
	require.Equal(t, 429, g.do("POST", "/register", `{"secret_key":"x"}`, "X-Forwarded-For", "192.0.2.2").status)
}

func TestProblemsBeforeARequestAreClosed(t *testing.T) {
	t.Parallel()
	g := start(t)
	c, err := net.Dial("tcp", g.server.Addr().String())
	require.NoError(t, err)
	defer c.Close()
	fmt.Fprint(c, "nonsense\r\n\r\n")
	b := make([]byte, 100)
	n, err := c.Read(b)
	require.NoError(t, err)
	assert.Contains(t, string(b[:n]), "HTTP/1.1 400")
}
