package gateway_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/config"
	"watchtower/gateway"
)

// file is a configuration that is changed while its gateway runs.
type file struct {
	mu  sync.Mutex
	cfg config.Config
}

func (f *file) read() (config.Config, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.cfg, f.cfg.Validate()
}

func (f *file) change(change func(*config.Config)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cfg.Users = cloned(f.cfg.Users)
	f.cfg.Channels = cloned(f.cfg.Channels)
	change(&f.cfg)
}

func cloned[K comparable, V any](m map[K]V) map[K]V {
	c := map[K]V{}
	for k, v := range m {
		c[k] = v
	}
	return c
}

func startFrom(t *testing.T, cfg config.Config) (*running, *file) {
	f := &file{cfg: cfg}
	return startWithOptions(t, cfg, []gateway.Option{gateway.From(f.read)}), f
}

// reload has the configuration read again, and returns what was reloaded and what
// needs a restart.
func (r *running) reload(admin string) (reloaded, restart string) {
	r.t.Helper()
	status, answer := r.operate(admin, "POST /operator/reload", "")
	require.Equal(r.t, 200, status, answer)
	var done struct {
		Reloaded     []string
		NeedsRestart []string `json:"needs_restart"`
	}
	require.NoError(r.t, json.Unmarshal([]byte(answer), &done))
	return strings.Join(done.Reloaded, " "), strings.Join(done.NeedsRestart, " ")
}

func TestWhatCanBeReloaded(t *testing.T) {
	t.Parallel()
	cfg := office(t)
	cfg.Channels = map[uint32]config.Channel{5: {Name: "Watering", HomeAssistant: true}, 6: {Name: "Doors"}}
	cfg.Callbacks.Allow = nil
	r, f := startFrom(t, cfg)
	admin := r.asAdmin()
	reloaded, restart := r.reload(admin)
	assert.Empty(t, reloaded)
	assert.Empty(t, restart)

	id := r.register("").ID
	callback := func() int {
		status, _ := r.call("POST", "/channels/join/async", "", fmt.Sprintf(`{"sender":%d,"channels":[5],"callback_url":"http://127.0.0.1:9/"}`, id))
		return status
	}
	info := func() string { return string(r.g.Retained(r.g.Hub().Tree().Info())) }
	require.Equal(t, 400, callback())
	f.change(func(c *config.Config) {
		c.Callbacks.Allow = []string{"127.0.0.1"}
		c.Channels[5] = config.Channel{Name: "Garden", HomeAssistant: true}
		c.Channels[6] = config.Channel{Name: "Doors", HomeAssistant: true}
		c.Channels[7] = config.Channel{Name: "Cellar"}
		c.Log.Level = "debug"
		c.HTTP.Listen, c.Limits.Senders = ":1", 7
	})
	reloaded, restart = r.reload(admin)
	assert.Equal(t, "callbacks.allow log.level channels.5 channels.7", reloaded)
	assert.Equal(t, "http.listen limits.senders channels.6", restart)
	assert.Equal(t, 200, callback())
	assert.Contains(t, info(), `"names":{"5":"Garden","6":"Doors","7":"Cellar"}`)
	discovery := func() string {
		return string(r.g.Retained("homeassistant/device/watchtower_" + r.g.Name() + "/config"))
	}
	eventually(t, "Home Assistant knows the name", func() bool { return strings.Contains(discovery(), "Garden") })

	reloaded, restart = r.reload(admin)
	assert.Empty(t, reloaded, "it is in force already")
	assert.Equal(t, "http.listen limits.senders channels.6", restart, "and this is not")

	f.change(func(c *config.Config) { delete(c.Channels, 7); delete(c.Channels, 5) })
	reloaded, restart = r.reload(admin)
	assert.Equal(t, "channels.7", reloaded)
	assert.Equal(t, "http.listen limits.senders channels.5 channels.6", restart, "Home Assistant is told of it until then")
}

// A file with faults changes nothing, and all of them are told.
func TestAFaultyConfigurationChangesNothing(t *testing.T) {
	t.Parallel()
	cfg := office(t)
	r, f := startFrom(t, cfg)
	admin := r.asAdmin()
	f.change(func(c *config.Config) {
		delete(c.Users, "ulook")
		c.AdminKey = "another, just as good"
		c.Log.Level, c.UDP.Listen = "loud", "nowhere"
	})
	status, answer := r.operate(admin, "POST /operator/reload", "")
	require.Equal(t, 400, status, answer)
	assert.Equal(t, "invalid-configuration", problemType(answer))
	assert.Contains(t, answer, "udp.listen: must be host:port")
	assert.Contains(t, answer, "log.level: must be one of")
	assert.Contains(t, answer, "(and 1 more: see faults)")
	r.signIn(`{"user":"ulook","password":"passlook"}`)
	r.asAdmin()
	r.g.Reload()
	assert.Contains(t, r.log.String(), "configuration not reloaded")
}

func TestTheAdminKeyIsReloaded(t *testing.T) {
	t.Parallel()
	r, f := startFrom(t, office(t))
	admin, user := r.asAdmin(), r.signIn(`{"user":"umanage","password":"passmanage"}`)
	f.change(func(c *config.Config) { c.AdminKey = "another, just as good" })
	reloaded, _ := r.reload(user)
	assert.Equal(t, "admin_key", reloaded)
	status, _ := r.operate(admin, "GET /operator/session", "")
	assert.Equal(t, 401, status)
	r.signIn(`{"key":"another, just as good"}`)
	local, err := os.ReadFile(filepath.Join(r.cfg.DataDir, "gateway.admin"))
	require.NoError(t, err)
	assert.Equal(t, "another, just as good\n", string(local), "commands on this machine go on")
}

func TestCertificatesAreReloaded(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	a.issue("server")
	a.issue("other")
	cfg := office(t)
	a.config(&cfg)
	r, f := startFrom(t, cfg)
	admin := r.asAdmin()
	serial := func() int64 {
		n, err := a.served(r.at.HTTPS)
		require.NoError(t, err)
		return n
	}
	require.EqualValues(t, 1001, serial())
	f.change(func(c *config.Config) { c.TLS.Certificate, c.TLS.Key = a.path("other"), a.path("other.key") })
	reloaded, restart := r.reload(admin)
	assert.Equal(t, "tls.certificate tls.key certificates", reloaded)
	assert.Empty(t, restart)
	assert.EqualValues(t, 1002, serial())
	require.NoError(t, os.WriteFile(a.path("other"), []byte("nonsense"), 0o600))
	status, answer := r.operate(admin, "POST /operator/reload", "")
	assert.Equal(t, 400, status)
	assert.Contains(t, answer, "tls.certificate")
	assert.EqualValues(t, 1002, serial())
	a.issue("other")
	reloaded, _ = r.reload(admin)
	assert.Equal(t, "certificates", reloaded)
	assert.EqualValues(t, 1003, serial())
}

// Clients that are still allowed stay connected; the others are disconnected.
func TestUsersAreReloaded(t *testing.T) {
	t.Parallel()
	cfg := family(t)
	cfg.AdminKey = adminKey
	cfg.Users["gone"] = config.User{PasswordHash: hashed(t, "gone-pass"), Role: "manage"}
	r, f := startFrom(t, cfg)
	admin, operator := r.asAdmin(), r.signIn(`{"user":"gone","password":"gone-pass"}`)
	clients, inboxes := map[string]paho.Client{}, map[string]chan string{}
	for _, user := range []string{"gone", "guest", "sensor", "listener"} {
		c, inbox, err := r.as(user, user+"-pass", "c-"+user)
		require.NoError(t, err)
		clients[user], inboxes[user] = c, inbox
	}
	owner, _, err := r.as("x", key, "owner")
	require.NoError(t, err)
	require.True(t, granted(t, clients["guest"], "home/#"))
	require.True(t, granted(t, clients["guest"], "watchtower/channels/5/broadcast/+"))
	require.True(t, granted(t, clients["listener"], "watchtower/channels/5/#"))
	members := func() string {
		_, answer := r.operate(admin, "GET /operator/senders?via=mqtt", "")
		return answer
	}
	channelsOf := func(name string) string {
		_, rest, _ := strings.Cut(members(), fmt.Sprintf(`"name":%q`, name))
		_, rest, _ = strings.Cut(rest, `"channels":`)
		return rest[:1]
	}
	require.Equal(t, "1", channelsOf("guest.c-guest"))

	f.change(func(c *config.Config) {
		delete(c.Users, "gone")
		c.Users["sensor"] = config.User{PasswordHash: hashed(t, "sensor-new"), ACL: c.Users["sensor"].ACL}
		c.Users["guest"] = config.User{PasswordHash: c.Users["guest"].PasswordHash, ACL: []config.Rule{{Access: "read", Topic: "home/b"}}}
		c.Users["new"] = config.User{PasswordHash: hashed(t, "new-pass")}
	})
	reloaded, restart := r.reload(admin)
	assert.Equal(t, "users.gone users.guest users.new users.sensor", reloaded)
	assert.Empty(t, restart)
	for user, stays := range map[string]bool{"gone": false, "sensor": false, "guest": true, "listener": true} {
		if !stays {
			eventually(t, user+" is disconnected", func() bool { return !clients[user].IsConnectionOpen() })
		}
	}
	status, _ := r.operate(operator, "GET /operator/session", "")
	assert.Equal(t, 401, status)
	for _, try := range []struct {
		user, password string
		ok             bool
	}{{"gone", "gone-pass", false}, {"sensor", "sensor-pass", false}, {"sensor", "sensor-new", true}, {"new", "new-pass", true}} {
		_, _, err := r.as(try.user, try.password, "again")
		assert.Equal(t, try.ok, err == nil, try)
	}
	assert.Equal(t, "0", channelsOf("guest.c-guest"), "what it may not read it has not joined")
	for _, topic := range []string{"home/a", "watchtower/channels/5/broadcast", "home/b"} {
		require.NoError(t, wait(owner.Publish(topic, 1, false, "x")))
	}
	assert.Equal(t, "home/b x", <-inboxes["guest"], "and no more")
	assert.Contains(t, <-inboxes["listener"], "watchtower/channels/5/broadcast/")
	for user, stays := range map[string]bool{"guest": true, "listener": true} {
		assert.Equal(t, stays, clients[user].IsConnectionOpen(), user)
	}

	f.change(func(c *config.Config) { c.Users["guest"] = cfg.Users["guest"] })
	r.reload(admin)
	require.True(t, granted(t, clients["guest"], "watchtower/channels/5/broadcast/+"))
	require.NoError(t, wait(owner.Publish("home/a", 1, false, "y")))
	assert.Equal(t, "home/a y", <-inboxes["guest"], "the filter is in force again")
	assert.True(t, slices.Contains([]string{"1"}, channelsOf("guest.c-guest")))
}
