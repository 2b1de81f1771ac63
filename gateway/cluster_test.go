package gateway_test

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"
	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
	"watchtower/config"
	"watchtower/gateway"
	"watchtower/internal/harness"
)

// heardLines are the lines of a stream.
type heardLines struct {
	mu  sync.Mutex
	all []string
}

func (h *heardLines) add(b []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.all = append(h.all, string(b))
}

func (h *heardLines) has(text string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.ContainsFunc(h.all, func(line string) bool { return strings.Contains(line, text) })
}

// together starts a gateway of a space.
func together(t testing.TB, url, name string, change func(*config.Config)) *running {
	t.Helper()
	return start(t, func(c *config.Config) {
		c.Cluster.URL, c.Gateway.Name = url, name
		if change != nil {
			change(c)
		}
	})
}

// meet waits until two gateways hear each other.
func meet(t testing.TB, a, b *running) {
	t.Helper()
	for _, pair := range [][2]*running{{a, b}, {b, a}} {
		eventually(t, "the gateways hear each other", func() bool { return pair[0].meets(pair[1].cfg.Gateway.Name) })
	}
}

// meetAll waits until all gateways hear each other.
func meetAll(t testing.TB, all []*running) {
	t.Helper()
	for i, one := range all {
		for _, other := range all[:i] {
			meet(t, one, other)
		}
	}
}

// meets reports whether a gateway hears another.
func (r *running) meets(name string) bool {
	return slices.ContainsFunc(r.g.Hub().Peers().Others(), func(o bridge.Other) bool { return o.Name == name && o.Here })
}

// refusedStart returns why a gateway does not start.
func refusedStart(t testing.TB, change func(*config.Config)) string {
	t.Helper()
	cfg := testConfig(t)
	change(&cfg)
	log := logrus.New()
	log.SetOutput(io.Discard)
	g, err := gateway.New(cfg, log)
	if err == nil {
		_ = g.Close()
	}
	require.Error(t, err)
	return err.Error()
}

// Everybody is in one space, whichever the gateway and the protocol: who is on a channel hears,
// is listed, and can be sent to; a name has one id, and its token counts everywhere.
func testClusterURL(t *testing.T) {
	servers := harness.StartNATS(t, 1, "")
	a, b := together(t, servers.URL(), "a", nil), together(t, servers.URL(), "b", nil)
	meet(t, a, b)

	door := a.register("door")
	var mine registration
	eventually(t, "the name is known at the other gateway", func() bool {
		status, me := b.call("GET", "/me", "", "", "Authorization", "Bearer "+door.Token)
		return status == 200 && json.Unmarshal([]byte(me), &mine) == nil
	})
	assert.Equal(t, door.ID, mine.ID)
	assert.Equal(t, door.ID, b.register("door").ID)
	assert.NotEqual(t, a.register("").ID, b.register("").ID)

	lamp := b.register("lamp")
	var atA, atB heardLines
	eventually(t, "lamp's token is known", func() bool {
		status, _ := a.call("GET", "/me", "", "", "Authorization", "Bearer "+lamp.Token)
		return status == 200
	})
	door = a.register("door")
	a.follow(fmt.Sprintf("channels=5&sender=%d", door.ID), atA.add)
	b.follow(fmt.Sprintf("channels=5&sender=%d", lamp.ID), atB.add)
	eventually(t, "both are members at both", func() bool {
		_, one := a.call("GET", fmt.Sprintf("/channels/5/members?sender=%d", door.ID), "", "")
		_, other := b.call("GET", fmt.Sprintf("/channels/5/members?sender=%d", lamp.ID), "", "")
		return one == other && strings.Contains(one, `"count":2`)
	})
	a.post("/broadcast", fmt.Sprintf(`{"sender":%d,"channels":[5],"message":"open"}`, door.ID), nil)
	b.post("/send", fmt.Sprintf(`{"sender":%d,"channels":[5],"receivers":[%d],"message":"for you alone"}`, lamp.ID, door.ID), nil)
	eventually(t, "the broadcast is heard at b", func() bool { return atB.has(`"message":"open"`) })
	eventually(t, "the send is heard at a", func() bool { return atA.has(`"message":"for you alone"`) })
	assert.False(t, atB.has("for you alone"))

	lamp = b.register("lamp")
	gone := b.register("")
	for _, one := range []registration{lamp, gone} {
		eventually(t, "it is known at a", func() bool {
			status, _ := a.call("GET", "/me", "", "", "Authorization", "Bearer "+one.Token)
			return status == 200
		})
	}
	status, answer := b.call("DELETE", fmt.Sprintf("/senders/%d", gone.ID), "", "", "Authorization", "Bearer "+gone.Token)
	require.Equal(t, 204, status, answer)
	eventually(t, "who is deleted at b is unknown at a", func() bool {
		status, _ := a.call("GET", "/me", "", "", "Authorization", "Bearer "+gone.Token)
		return status == 401
	})

	b.stop()
	eventually(t, "who was at b is no member", func() bool {
		_, members := a.call("GET", fmt.Sprintf("/channels/5/members?sender=%d", door.ID), "", "")
		return strings.Contains(members, `"count":1`)
	})

	servers.Kill(0)
	late := start(t, func(c *config.Config) { c.Cluster.URL, c.DataDir, c.Gateway.Name = servers.URL(), b.cfg.DataDir, "b" })
	assert.Equal(t, lamp.ID, late.register("lamp").ID, "what it knows it knows without a server")
	servers.Start(0)
	meet(t, a, late)
}

// Gateways of other spaces are not heard, and a space has one secret key.
func testClusterSpace(t *testing.T) {
	servers := harness.StartNATS(t, 1, "")
	a := together(t, servers.URL(), "a", nil)
	b := together(t, servers.URL(), "b", func(c *config.Config) { c.Cluster.Space, c.SecretKey = "cabin", key+" of the cabin" })
	c := together(t, servers.URL(), "c", nil)
	meet(t, a, c)
	for _, r := range []*running{a, b} {
		_, metrics := r.call("GET", "/metrics", "", "")
		assert.NotContains(t, metrics, `gateway="b"`)
		assert.Equal(t, r == a, strings.Contains(metrics, `gateway="c"`))
	}
	why := refusedStart(t, func(cfg *config.Config) { cfg.Cluster.URL, cfg.SecretKey = servers.URL(), "another key of mine" })
	assert.Contains(t, why, "secret_key")
	assert.Contains(t, why, `"home"`)
	assert.NotContains(t, why, "another key of mine")
}

// A slot is claimed once, and kept.
func testClusterSlot(t *testing.T) {
	servers := harness.StartNATS(t, 1, "")
	slot := func(n int) func(*config.Config) {
		return func(c *config.Config) { c.Cluster.URL, c.Cluster.Slot = servers.URL(), n }
	}
	a := together(t, servers.URL(), "a", slot(7))
	assert.Contains(t, refusedStart(t, slot(7)), "cluster.slot: 7 is another gateway's")
	b := together(t, servers.URL(), "b", nil)
	meet(t, a, b)
	a.stop()
	again := start(t, func(c *config.Config) { c.DataDir = a.cfg.DataDir; slot(0)(c) })
	assert.Contains(t, again.log.String(), "slot=7")
}

// The servers let in whom they know.
func testClusterCredentials(t *testing.T) {
	operator, account, user := identity(t, nkeys.CreateOperator), identity(t, nkeys.CreateAccount), identity(t, nkeys.CreateUser)
	system := identity(t, nkeys.CreateAccount)
	o := jwt.NewOperatorClaims(operator.public)
	a := jwt.NewAccountClaims(account.public)
	a.Limits.DiskStorage, a.Limits.MemoryStorage = -1, -1
	u := jwt.NewUserClaims(user.public)
	signed := func(c jwt.Claims, by nkeys.KeyPair) string {
		text, err := c.Encode(by)
		require.NoError(t, err)
		return text
	}
	servers := harness.StartNATS(t, 1, fmt.Sprintf("operator: %s\nsystem_account: %s\nresolver: MEMORY\nresolver_preload: {%s: %s, %s: %s}", signed(o, operator.pair), system.public,
		account.public, signed(a, operator.pair), system.public, signed(jwt.NewAccountClaims(system.public), operator.pair)))
	seed, err := user.pair.Seed()
	require.NoError(t, err)
	creds, err := jwt.FormatUserConfig(signed(u, account.pair), seed)
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "gateway.creds")
	require.NoError(t, os.WriteFile(file, creds, 0o600))
	with := func(c *config.Config) { c.Cluster.Credentials = file }
	meet(t, together(t, servers.URL(), "a", with), together(t, servers.URL(), "b", with))
	assert.Contains(t, strings.ToLower(refusedStart(t, func(c *config.Config) { c.Cluster.URL = servers.URL() })), "authorization violation")
}

type nkey struct {
	pair   nkeys.KeyPair
	public string
}

func identity(t *testing.T, create func() (nkeys.KeyPair, error)) nkey {
	pair, err := create()
	require.NoError(t, err)
	public, err := pair.PublicKey()
	require.NoError(t, err)
	return nkey{pair, public}
}

// The gateway checks the servers' certificate, and shows its own.
func testClusterTLS(t *testing.T) {
	ca := newAuthority(t)
	ca.issue("server", "127.0.0.1")
	ca.issue("client", "gateway")
	servers := harness.StartNATS(t, 1, fmt.Sprintf("tls: {cert_file: %q, key_file: %q, ca_file: %q, verify: true}", ca.path("server"), ca.path("server.key"), ca.path("ca")))
	trust := func(c *config.Config) { c.Cluster.URL, c.Cluster.TLSCA = servers.URL(), ca.path("ca") }
	with := func(c *config.Config) {
		trust(c)
		c.Cluster.TLSCertificate, c.Cluster.TLSKey = ca.path("client"), ca.path("client.key")
	}
	meet(t, together(t, servers.URL(), "a", with), together(t, servers.URL(), "b", with))
	assert.Contains(t, refusedStart(t, func(c *config.Config) { c.Cluster.URL = servers.URL() }), "unknown authority")
	assert.Contains(t, refusedStart(t, trust), "tls")
}
