package http_test

import (
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
	"watchtower/http"
)

// clock is a time that stands still.
type clock struct{ ns atomic.Int64 }

func (c *clock) now() time.Time { return time.Unix(1e9, c.ns.Load()) }

func TestWrongCredentialsAreLimited(t *testing.T) {
	var c clock
	g := start(t, func(_ *bridge.Options, o *http.Options) { o.Clock = c.now })
	id, token := g.register()
	channels := fmt.Sprintf("/channels?sender=%d", id)
	wrong := []func() answer{
		func() answer { return g.do("POST", "/register", `{"secret_key":"x"}`) },
		func() answer { return g.do("GET", "/channels?sender=1", "") },
		func() answer { return g.do("GET", channels, "", "Authorization", "Bearer x") },
	}
	for range 100 { // what is no guess does not count
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

func TestLimitIsByClientAddress(t *testing.T) {
	var c clock
	g := start(t, func(_ *bridge.Options, o *http.Options) {
		o.Clock, o.Failures.Burst, o.Failures.Most = c.now, 1, 2
		o.TrustedProxies = []string{"127.0.0.1", "10.0.0.0/8"}
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
	g := start(t, func(_ *bridge.Options, o *http.Options) { o.Failures.Burst = 1 })
	require.Equal(t, 401, g.do("POST", "/register", `{"secret_key":"x"}`, "X-Forwarded-For", "192.0.2.1").status)
	require.Equal(t, 429, g.do("POST", "/register", `{"secret_key":"x"}`, "X-Forwarded-For", "192.0.2.2").status)
}

func TestProblemsBeforeARequestAreClosed(t *testing.T) {
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
