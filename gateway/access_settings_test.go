package gateway_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/config"
)

func testSecretKey(t *testing.T) {
	r := start(t, func(c *config.Config) { c.SecretKey = "another" })
	status, _ := r.call("POST", "/register", "", `{"secret_key":"another"}`)
	assert.Equal(t, 200, status)
	status, _ = r.call("POST", "/register", "", fmt.Sprintf(`{"secret_key":%q}`, key))
	assert.Equal(t, 401, status)
	_, err := r.pahoClient(nil)
	assert.Error(t, err)
}

func testOpen(t *testing.T) {
	r := start(t, func(c *config.Config) { c.Open, c.SecretKey = true, "" })
	for _, body := range []string{"", "{}", `{"secret_key":"any"}`} {
		status, answer := r.call("POST", "/register", "", body)
		assert.Equal(t, 200, status, answer)
	}
	_, err := r.pahoClient(func(o *paho.ClientOptions) { o.SetPassword("").SetUsername("") })
	assert.NoError(t, err)
	k, generated := r.g.Key()
	assert.Empty(t, k)
	assert.False(t, generated)
}

func testDataDir(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	r := start(t, func(c *config.Config) { c.DataDir = dir; c.SecretKey = "" })
	k, generated := r.g.Key()
	assert.True(t, generated)
	assert.Len(t, k, 20)
	for name, mode := range map[string]os.FileMode{"watchtower.db": 0o600, "secret.key": 0o600, "gateway.url": 0o600, "gateway.key": 0o600, "gateway.admin": 0o600} {
		eventually(t, name+" appears", func() bool { _, err := os.Stat(filepath.Join(dir, name)); return err == nil })
		info, err := os.Stat(filepath.Join(dir, name))
		require.NoError(t, err)
		assert.Equal(t, mode, info.Mode().Perm(), name)
	}
	name := r.g.Name()
	r.stop()
	again := startWith(t, r.cfg)
	k2, generated := again.g.Key()
	assert.Equal(t, k, k2)
	assert.False(t, generated)
	assert.Equal(t, name, again.g.Name(), "the gateway's name is kept")
}

func testGatewayName(t *testing.T) {
	r := start(t, func(c *config.Config) { c.Gateway.Name = "attic" })
	c, err := r.pahoClient(nil)
	require.NoError(t, err)
	status := make(chan string, 1)
	require.NoError(t, wait(c.Subscribe("watchtower/gateways/attic/status", 1, func(_ paho.Client, m paho.Message) { status <- string(m.Payload()) })))
	assert.Equal(t, "online", <-status)
}

func testRequireToken(t *testing.T) {
	r := start(t, func(c *config.Config) { c.Auth.RequireToken = true })
	reg := r.register("page")
	assert.Equal(t, 401, r.channels(reg.ID))
	status, _ := r.call("GET", fmt.Sprintf("/channels?sender=%d", reg.ID), "", "", "Authorization", "Bearer "+reg.Token)
	assert.Equal(t, 204, status)
	body := fmt.Sprintf(`{"secret_key":%q,"name":"page"}`, key)
	status, _ = r.call("POST", "/register", "", body)
	assert.Equal(t, 401, status, "the name is given again only against its token")
	status, _ = r.call("POST", "/register", "", body, "Authorization", "Bearer "+reg.Token)
	assert.Equal(t, 200, status)
}

func testExpiry(t *testing.T, name string) {
	r := start(t, func(c *config.Config) {
		c.Senders.ExpireAfter, c.Senders.ExpireUnnamedAfter = time.Hour, time.Hour
		if name != "" {
			c.Senders.ExpireAfter = time.Second
		} else {
			c.Senders.ExpireUnnamedAfter = time.Second
		}
	})
	named, unnamed := r.register("page"), r.register("")
	goes, stays := named, unnamed
	if name == "" {
		goes, stays = unnamed, named
	}
	senders := func() int { _, n := r.g.Hub().Directory().Counts(); return n }
	eventually(t, "it is forgotten", func() bool { return senders() == 1 })
	assert.Equal(t, 401, r.channels(goes.ID))
	assert.Equal(t, 204, r.channels(stays.ID))
}

func (r *running) ask(network string, request []byte) (string, error) {
	addr := map[string]string{"udp": r.at.UDP, "tcp": r.at.TCP}[network]
	conn, err := net.Dial(network, addr)
	require.NoError(r.t, err)
	defer conn.Close()
	_, err = conn.Write(request)
	require.NoError(r.t, err)
	_ = conn.SetReadDeadline(time.Now().Add(patient))
	b := make([]byte, 1500)
	n, err := conn.Read(b)
	return string(b[:n]), err
}

func testBasicOff(t *testing.T) {
	r := start(t, func(c *config.Config) { c.Wire.Basic = false })
	answer, err := r.ask("tcp", basicFrame("K", byte(len(key)), key))
	require.NoError(t, err)
	assert.Equal(t, "E", answer)
	conn, err := net.Dial("udp", r.at.UDP)
	require.NoError(t, err)
	defer conn.Close()
	_, err = conn.Write(basicFrame("K", byte(len(key)), key))
	require.NoError(t, err)
	eventually(t, "it is dropped", func() bool { return r.malformed() >= 1 })
}

func testBasicKey(t *testing.T) {
	r := start(t, func(c *config.Config) { c.Wire.BasicKey = "devices" })
	for _, network := range []string{"udp", "tcp"} {
		answer, err := r.ask(network, basicFrame("K\x07devices"))
		require.NoError(t, err)
		assert.Len(t, answer, 5)
		answer, err = r.ask(network, basicFrame("K", byte(len(key)), key))
		require.NoError(t, err)
		assert.Equal(t, "E", answer)
	}
	status, _ := r.call("POST", "/register", "", `{"secret_key":"devices"}`)
	assert.Equal(t, 401, status)
}

func testIdleTimeout(t *testing.T) {
	r := start(t, func(c *config.Config) { c.Wire.IdleTimeout = short })
	r.wire("udp")
	r.wire("tcp")
	eventually(t, "the UDP device is forgotten, the TCP one is not", func() bool {
		n, _ := r.g.Hub().Directory().Counts()
		return n[viaUDP] == 0 && n[viaTCP] == 1
	})
}

func testFrameTimeout(t *testing.T) {
	r := start(t, func(c *config.Config) { c.Wire.FrameTimeout = short })
	for _, begin := range []string{"", "K\x05he", string(basicFrame("K", byte(len(key)), key, "M"))} {
		begun := time.Now()
		conn, err := net.Dial("tcp", r.at.TCP)
		require.NoError(t, err)
		_, _ = io.WriteString(conn, begin) // it may be too late
		endsBy(t, conn, begun, short)
		conn.Close()
	}
}

func testMessageBytes(t *testing.T) {
	r := start(t, func(c *config.Config) { c.Limits.MessageBytes = 10 })
	d := r.stream()
	d.broadcast(5, make([]byte, 10))
	path := fmt.Sprintf("/broadcast?channels=5&sender=%d", d.id)
	status, body := r.call("POST", path, "text/plain", "12345678901")
	assert.Equal(t, 413, status)
	assert.Contains(t, body, "say less, or raise limits.message_bytes")
	r = start(t, nil) // it is as large as can be
	status, body = r.call("POST", fmt.Sprintf("/broadcast?channels=5&sender=%d", r.stream().id), "text/plain", strings.Repeat("x", config.MostMessageBytes+1))
	assert.Equal(t, 413, status)
	assert.Contains(t, body, "say less")
	assert.NotContains(t, body, "raise")
}

func testSenderChannels(t *testing.T) {
	r := start(t, func(c *config.Config) { c.Limits.SenderChannels = 2 })
	id := r.register("").ID
	r.follow(fmt.Sprintf("channels=1,2&sender=%d", id), func([]byte) {})
	r.follow(fmt.Sprintf("channels=2&sender=%d", id), func([]byte) {}) // again costs nothing
	status, body := r.call("GET", fmt.Sprintf("/channels/join?channels=2,3&sender=%d", id), "", "")
	assert.Equal(t, 400, status)
	assert.Contains(t, body, "limits.sender_channels")
	status, _ = r.call("POST", "/channels/join/async", "", fmt.Sprintf(`{"sender":%d,"channels":[2,3],"callback_url":"http://127.0.0.1:9/"}`, id))
	assert.Equal(t, 400, status)
	_, body = r.call("GET", fmt.Sprintf("/channels?sender=%d", id), "", "")
	assert.JSONEq(t, `{"channels":[1,2]}`, body, "nothing is half done")
}

func testShutdownTimeout(t *testing.T) {
	r := start(t, func(c *config.Config) { c.ShutdownTimeout = 500 * time.Millisecond })
	say, attempts := badCallback(r, hang)
	say("x")
	eventually(t, "it hangs", func() bool { return attempts.Load() > 0 })
	begin := time.Now()
	r.stop()
	assert.Less(t, time.Since(begin), 9*time.Second, "by default it is ten")
}

func TestStreamsEndWellWhenTheGatewayStops(t *testing.T) {
	t.Parallel()
	r := start(t, nil)
	res, err := web.Get(fmt.Sprintf("http://%s/channels/join?channels=5&sender=%d", r.at.HTTP, r.register("").ID))
	require.NoError(t, err)
	defer res.Body.Close()
	in := bufio.NewReader(res.Body)
	_, err = in.ReadString('\n')
	require.NoError(t, err)
	r.stop()
	_, err = io.ReadAll(in)
	assert.NoError(t, err, "the stream ends with its terminator")
}

// Who comes from the ingress's address through it manages, under the name that it tells.
func testIngress(t *testing.T) {
	from := func(r *running, headers ...string) (int, string) {
		return r.call("GET", "/operator/session", "", "", headers...)
	}
	r := start(t, func(c *config.Config) { c.HTTP.Ingress = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")} })
	status, body := from(r, "X-Ingress-Path", "/api/hassio_ingress/x", "X-Remote-User-Name", "Ann Lee")
	assert.Equal(t, 200, status)
	assert.JSONEq(t, `{"role":"manage","name":"Ann_Lee","open":false,"ingress":true}`, body)
	status, body = from(r, "X-Ingress-Path", "/api/hassio_ingress/x")
	assert.Equal(t, 200, status)
	assert.Contains(t, body, `"home-assistant"`)
	status, _ = from(r)
	assert.Equal(t, 401, status, "the watchdog comes from there too")
	status, _ = from(r, "X-Ingress-Path", "/x", "Authorization", "Bearer wtc_wrong")
	assert.Equal(t, 401, status, "a token counts if there is one")
	status, _ = from(r, "X-Ingress-Path", "/x", "Origin", "http://elsewhere.example")
	assert.Equal(t, 403, status, "a page of another origin")

	r = start(t, func(c *config.Config) {
		c.HTTP.Ingress = []netip.Prefix{netip.MustParsePrefix("127.0.0.2/32")}
		c.HTTP.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
	})
	status, _ = from(r, "X-Ingress-Path", "/x", "X-Forwarded-For", "127.0.0.2")
	assert.Equal(t, 401, status, "only the connection's own address counts")
}
