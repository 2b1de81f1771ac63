package gateway_test

import (
	nethttp "net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/config"
)

// askedAs returns the status of a request with this Host.
func (r *running) askedAs(host, path string) int {
	r.t.Helper()
	req, err := nethttp.NewRequest("GET", "http://"+r.at.HTTP+path, nil)
	require.NoError(r.t, err)
	req.Host = host
	res, err := web.Do(req)
	require.NoError(r.t, err)
	res.Body.Close()
	return res.StatusCode
}

func testHosts(t *testing.T) {
	r := start(t, func(c *config.Config) {
		c.Open, c.SecretKey, c.HTTP.Hosts = true, "", []string{"gateway.example.org"}
	})
	assert.Equal(t, 200, r.askedAs("gateway.example.org", "/metrics"))
	assert.Equal(t, 421, r.askedAs("evil.example", "/metrics"))
	assert.Equal(t, 200, r.askedAs("evil.example", "/readyz"))
	r = start(t, nil)
	assert.Equal(t, 200, r.askedAs("evil.example", "/metrics"), "it has a secret key")
}

func TestTheNamesOfACertificateAreOwn(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	ca.issue("server", "gw.example.org", "*.house.example")
	r := start(t, func(c *config.Config) {
		c.Open, c.SecretKey = true, ""
		ca.config(c)
	})
	for host, status := range map[string]int{"gw.example.org": 200, "x.house.example": 200, "house.example": 421, "evil.example": 421} {
		assert.Equal(t, status, r.askedAs(host, "/metrics"), host)
	}
}
