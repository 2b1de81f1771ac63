package gateway_test

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestSessionsOfOperators(t *testing.T) {
	t.Parallel()
	cfg := office(t)
	r := startWith(t, cfg)
	byKey, byUser := r.asAdmin(), r.signIn(`{"user":"umanage","password":"passmanage","stay":true}`)
	ended := r.asAdmin()
	status, _ := r.operate(ended, "DELETE /operator/session", "")
	require.Equal(t, 204, status)
	works := func(token string) bool {
		status, answer := r.operate(token, "GET /operator/session", "")
		if status == 401 {
			assert.Equal(t, "session", problemType(answer))
		}
		return status == 200
	}
	assert.True(t, works(byKey))
	assert.False(t, works(ended))
	_, list := r.operate(byKey, "GET /operator/sessions", "")
	assert.Contains(t, list, `"name":"umanage","label":"Go-http-client/1.1","stay":true`)
	assert.NotContains(t, list, "wtc_")
	assert.Equal(t, 2, strings.Count(list, `"id"`))

	r.stop() // and a restart
	stored, err := os.ReadFile(filepath.Join(cfg.DataDir, "watchtower.db"))
	require.NoError(t, err)
	assert.NotContains(t, string(stored), "wtc_", "tokens are kept hashed")
	r = startWith(t, cfg)
	assert.True(t, works(byKey))
	assert.True(t, works(byUser))
	assert.False(t, works(ended))

	r.stop()
	cfg.AdminKey = "another key, as good"
	r = startWith(t, cfg)
	assert.False(t, works(byKey), "a changed key ends what it gave")
	assert.True(t, works(byUser), "and no more")

	r.stop()
	cfg.AdminKey = adminKey
	user := cfg.Users["umanage"]
	user.PasswordHash = hashed(t, "passmanage") // the same password, hashed anew
	cfg.Users["umanage"] = user
	r = startWith(t, cfg)
	assert.False(t, works(byKey), "also where the old key comes back")
	assert.False(t, works(byUser))

	byUser = r.signIn(`{"user":"umanage","password":"passmanage"}`)
	r.stop()
	delete(cfg.Users, "umanage")
	r = startWith(t, cfg)
	assert.False(t, works(byUser))
}

func TestTheAdminKeyIsGenerated(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	r := startWith(t, cfg)
	admin, generated := r.g.AdminKey()
	assert.True(t, generated)
	info, err := os.Stat(filepath.Join(cfg.DataDir, "admin.key"))
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	token := r.signIn(fmt.Sprintf(`{"key":%q}`, admin))
	r.stop()
	r = startWith(t, cfg)
	again, generated := r.g.AdminKey()
	assert.False(t, generated)
	assert.Equal(t, admin, again)
	status, _ := r.operate(token, "GET /operator/senders", "")
	assert.Equal(t, 200, status)
}

func TestWrongLoginsOfOperatorsAreLimited(t *testing.T) {
	t.Parallel()
	cfg := office(t)
	cfg.Limits.Failures, cfg.Limits.FailureInterval = 5, time.Hour
	cfg.HTTP.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	r := startWith(t, cfg)
	session := r.asAdmin()
	login := func(from, body string) int {
		status, _ := r.call("POST", "/operator/session", "application/json", body, "X-Forwarded-For", from)
		return status
	}
	right := fmt.Sprintf(`{"key":%q}`, adminKey)
	for range 3 {
		require.Equal(t, 401, login("192.0.2.1", `{"key":"guess"}`))
	}
	for range 2 {
		require.Equal(t, 401, login("192.0.2.1", `{"user":"umanage","password":"guess"}`))
	}
	assert.Equal(t, 429, login("192.0.2.1", right), "the right key waits, too")
	assert.Equal(t, 200, login("192.0.2.2", right), "another address does not")
	status, _ := r.call("GET", "/operator/senders", "", "", "X-Forwarded-For", "192.0.2.1", "Authorization", "Bearer "+session)
	assert.Equal(t, 200, status, "whoever has a session goes on")
	status, _ = r.call("POST", "/register", "", `{"secret_key":"wrong"}`, "X-Forwarded-For", "192.0.2.1")
	assert.Equal(t, 429, status, "it is one limit")
}
