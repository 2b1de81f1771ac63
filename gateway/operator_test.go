package gateway_test

import (
	"encoding/json"
	"fmt"
	nethttp "net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/config"
)

const adminKey = "open sesame, and nobody else"

// office is a gateway with a user of each role.
func office(t *testing.T) config.Config {
	cfg := testConfig(t)
	cfg.AdminKey = adminKey
	cfg.Users = map[string]config.User{}
	for _, role := range []string{"", "look", "speak", "manage"} {
		cfg.Users["u"+role] = config.User{PasswordHash: hashed(t, "pass"+role), Role: role}
	}
	return cfg
}

// signIn returns the token of a session.
func (r *running) signIn(body string) string {
	r.t.Helper()
	status, answer := r.call("POST", "/operator/session", "application/json", body)
	require.Equal(r.t, 200, status, answer)
	var session struct{ Token string }
	require.NoError(r.t, json.Unmarshal([]byte(answer), &session))
	return session.Token
}

func (r *running) asAdmin() string {
	r.t.Helper()
	return r.signIn(fmt.Sprintf(`{"key":%q}`, adminKey))
}

// sessions returns the sessions' ids.
func (r *running) sessions(token string) (ids []string) {
	r.t.Helper()
	_, answer := r.operate(token, "GET /operator/sessions", "")
	var list struct{ Sessions []struct{ ID string } }
	require.NoError(r.t, json.Unmarshal([]byte(answer), &list))
	for _, s := range list.Sessions {
		ids = append(ids, s.ID)
	}
	return ids
}

// operate does an operator's call.
func (r *running) operate(token, call, body string) (int, string) {
	r.t.Helper()
	method, path, _ := strings.Cut(call, " ")
	contentType := ""
	if body != "" {
		contentType = "application/json"
	}
	if token == "" {
		return r.call(method, path, contentType, body)
	}
	return r.call(method, path, contentType, body, "Authorization", "Bearer "+token)
}

func problemType(body string) string {
	var p struct{ Type string }
	_ = json.Unmarshal([]byte(body), &p)
	return strings.TrimPrefix(p.Type, "urn:watchtower:problem:")
}

// operatorCalls are all calls, with the role that each needs and its status then.
var operatorCalls = []struct {
	call, body, role string
	status           int
}{
	{"GET /operator/session", "", "look", 200},
	{"GET /operator/sessions", "", "manage", 200},
	{"DELETE /operator/sessions/SESSION", "", "manage", 204},
	{"GET /operator/senders", "", "look", 200},
	{"GET /operator/gateway", "", "look", 200},
	{"GET /operator/cluster", "", "look", 404}, // it is alone
	{"GET /operator/rates", "", "look", 200},
	{"GET /operator/refusals", "", "look", 200},
	{"GET /operator/losses", "", "look", 200},
	{"GET /operator/gone", "", "look", 200},
	{"GET /operator/senders/SENDER", "", "look", 200},
	{"GET /operator/channels?order=busy", "", "look", 200},
	{"GET /operator/channels/5/members", "", "look", 200},
	{"POST /operator/channels/5/messages", `{"message":"hello"}`, "speak", 200},
	{"DELETE /operator/channels/5/members/SENDER", "", "manage", 404}, // it is not on it
	{"PATCH /operator/senders/SENDER", `{"name":"renamed","protected":true}`, "manage", 200},
	{"POST /operator/senders/SENDER/token", "", "manage", 200},
	{"DELETE /operator/senders/SENDER", "", "manage", 204},
	{"POST /operator/reload", "", "manage", 200},
	{"GET /operator/backup", "", "manage", 200},
	{"GET /operator/callbacks", "", "look", 200},
	{"POST /operator/callbacks/72-0/replay", "", "manage", 404}, // there are none
	{"POST /operator/callbacks/72-0/rotate", "{}", "manage", 404},
	{"POST /operator/callbacks/72-0/off", "", "manage", 404},
	{"POST /operator/callbacks/72-0/on", "", "manage", 404},
	{"GET /operator/homeassistant", "", "look", 200},
	{"GET /operator/settings", "", "manage", 200},
	{"GET /operator/device-key?name=lamp", "", "manage", 200}, // of an open gateway 409
	{"GET /operator/device-keys", "", "look", 200},
	{"GET /operator/devices/lamp/key", "", "manage", 200},
	{"POST /operator/devices/lamp/revoke", "", "manage", 200},
	{"POST /operator/device-keys/rotate", `{"until":"2026-01-01T00:00:00Z"}`, "manage", 200},
	{"GET /operator/topics", "", "look", 200},
	{"GET /operator/topics/value?topic=a", "", "look", 404}, // until somebody publishes there
	{"PUT /operator/topics/value?topic=a&retain=false", `{"on":true}`, "speak", 204},
	{"DELETE /operator/topics/value?topic=a", "", "manage", 200},
	{"DELETE /operator/session", "", "look", 204},
}

// Every call by everybody: a stranger, a device, a user without a role, one of
// each role, and the admin key.
func TestEveryCallOfOperatorsByEveryRole(t *testing.T) {
	t.Parallel()
	for _, open := range []bool{false, true} {
		cfg := office(t)
		if open {
			cfg.Open, cfg.SecretKey = true, ""
		}
		r := startWith(t, cfg)
		var device registration
		r.post("/register", fmt.Sprintf(`{"secret_key":%q}`, cfg.SecretKey), &device)
		spare := r.asAdmin()
		rank := map[string]int{"stranger": 0, "device": 0, "look": 1, "speak": 2, "manage": 3, "admin": 3}
		for who, is := range rank {
			token := ""
			switch who {
			case "stranger":
			case "device":
				token = device.Token
			case "admin":
				token = r.asAdmin()
			default:
				token = r.signIn(fmt.Sprintf(`{"user":"u%s","password":"pass%s"}`, who, who))
			}
			for _, c := range operatorCalls { // the last one ends the token's session
				var of registration
				r.post("/register", fmt.Sprintf(`{"secret_key":%q}`, cfg.SecretKey), &of)
				other := ""
				if strings.Contains(c.call, "SESSION") {
					before := r.sessions(spare)
					r.asAdmin()
					other = slices.DeleteFunc(r.sessions(spare), func(id string) bool { return slices.Contains(before, id) })[0]
				}
				status, answer := r.operate(token, strings.NewReplacer("SENDER", fmt.Sprint(of.ID), "SESSION", other).Replace(c.call), strings.ReplaceAll(c.body, "renamed", "renamed-"+who))
				want, kind, missing := c.status, "", "not-found"
				if strings.Contains(c.call, "cluster") {
					missing = "alone"
				}
				need := rank[c.role]
				if open && strings.Contains(c.call, "device-key?") && is >= need {
					want, kind = 409, "open-gateway"
				}
				switch {
				case who == "stranger" && open && need <= 2:
					if c.call == "DELETE /operator/session" {
						want, kind = 404, "not-found"
					}
					if want == 404 {
						kind = missing
					}
				case want == 404 && is >= need:
					kind = missing
				case is == 0:
					want, kind = 401, "session"
				case is < need:
					want, kind = 403, "role"
				}
				what := fmt.Sprintf("%s as %s, open: %t: %s", c.call, who, open, answer)
				assert.Equal(t, want, status, what)
				assert.Equal(t, kind, problemType(answer), what)
				if want == 403 {
					assert.Contains(t, answer, "needs the role "+c.role, what)
				}
			}
		}
		assert.Contains(t, r.log.String(), "operator forgot a sender")
		assert.NotContains(t, r.log.String(), "wtc_")
		assert.NotContains(t, r.log.String(), adminKey)
	}
}

func TestWhatOperatorsAreRefused(t *testing.T) {
	t.Parallel()
	r := startWith(t, office(t))
	admin := r.asAdmin()
	lamp, other := r.register("lamp"), r.register("other")
	at := func(id uint32) string { return fmt.Sprintf("/operator/senders/%d", id) }
	for _, c := range []struct {
		call, body string
		status     int
		kind       string
	}{
		{"POST /operator/session", `{}`, 400, "invalid-field"},
		{"POST /operator/session", `[]`, 400, "invalid-body"},
		{"POST /operator/session", `{"key":5}`, 400, "invalid-field"},
		{"POST /operator/session", `{"key":null}`, 400, "invalid-field"},
		{"POST /operator/session", `{"key":"x","user":"y"}`, 400, "invalid-field"},
		{"POST /operator/session", `{"key":"x","KEY":"y"}`, 400, "unknown-field"},
		{"POST /operator/session", `{"user":"umanage"}`, 400, "invalid-field"},
		{"POST /operator/session", `{"key":"x","stay":"yes"}`, 400, "invalid-field"},
		{"POST /operator/session", fmt.Sprintf(`{"key":%q}`, strings.Repeat("x", 5000)), 413, "body-too-large"},
		{"POST /operator/session", `{"key":"` + key + `"}`, 401, "wrong-login"},
		{"POST /operator/session", `{"user":"umanage","password":"passlook"}`, 401, "wrong-login"},
		{"POST /operator/session", `{"user":"nobody","password":"pass"}`, 401, "wrong-login"},
		{"POST /operator/session", `{"user":"u","password":"pass"}`, 403, "role"},
		{"GET /operator", ``, 404, "not-found"},
		{"GET /operator/", ``, 404, "not-found"},
		{"GET /operator/settings/", ``, 404, "not-found"},
		{"GET /operator/callbacks?state=bad", ``, 400, "invalid-parameter"},
		{"GET /operator/callbacks?limit=0", ``, 400, "invalid-parameter"},
		{"GET /operator/callbacks?find=x", ``, 400, "unknown-parameter"},
		{"GET /operator/callbacks/72-0/off", ``, 405, "method-not-allowed"},
		{"POST /operator/callbacks/x/off", ``, 404, "not-found"},
		{"POST /operator/callbacks/72-0/off?why=x", ``, 400, "unknown-parameter"},
		{"POST /operator/callbacks/72-0/replay", `{"ids":[]}`, 400, "unknown-field"},
		{"GET /operator/homeassistant?limit=1", ``, 400, "unknown-parameter"},
		{"GET /operator/settings?limit=1", ``, 400, "unknown-parameter"},
		{"GET /operator/device-key", ``, 400, "invalid-name"},
		{"GET /operator/device-key?name=a%20b", ``, 400, "invalid-name"},
		{"GET /operator/device-key?qr=1", ``, 400, "unknown-parameter"},
		{"PUT /operator/session", ``, 405, "method-not-allowed"},
		{"GET /operator/reload", ``, 405, "method-not-allowed"},
		{"GET /operator/cluster", ``, 404, "alone"},
		{"GET /operator/cluster?slot=1", ``, 400, "unknown-parameter"},
		{"GET /operator/rates?span=2h", ``, 400, "invalid-parameter"},
		{"GET /operator/rates?from=1", ``, 400, "unknown-parameter"},
		{"GET /operator/channels?order=name", ``, 400, "invalid-parameter"},
		{"GET /operator/channels?limit=501", ``, 400, "invalid-parameter"},
		{"GET /operator/channels/0/members", ``, 400, "invalid-channel"},
		{"GET /operator/channels/5/members?from=x", ``, 400, "invalid-parameter"},
		{"POST /operator/channels/x/messages", `{"message":1}`, 400, "invalid-channel"},
		{"POST /operator/channels/5/messages", `{}`, 400, "invalid-field"},
		{"POST /operator/channels/5/messages", `{"message":1,"base64":"eA=="}`, 400, "invalid-field"},
		{"POST /operator/channels/5/messages", `{"base64":"x"}`, 400, "invalid-field"},
		{"POST /operator/channels/5/messages", `{"message":1,"ttl":-1}`, 400, "invalid-field"},
		{"POST /operator/channels/5/messages", `{"message":1,"ttl":"soon"}`, 400, "invalid-field"},
		{"POST /operator/channels/5/messages", `{"message":1,"receivers":["nobody here"]}`, 400, "invalid-receiver"},
		{"POST /operator/channels/5/messages", `{"message":1,"receivers":[7]}`, 400, "unjoined-receiver"},
		{"POST /operator/channels/5/messages", `{"message":1,"channel":6}`, 400, "unknown-field"},
		{"DELETE /operator/channels/5/members/nobody", ``, 404, "unknown-sender"},
		{"GET /operator/live", ``, 400, "invalid-field"},
		{"GET /operator/senders?limit=501", ``, 400, "invalid-parameter"},
		{"GET /operator/senders?limit=0", ``, 400, "invalid-parameter"},
		{"GET /operator/senders?from=-1", ``, 400, "invalid-parameter"},
		{"GET /operator/senders?via=zigbee", ``, 400, "invalid-parameter"},
		{"GET /operator/senders?state=asleep", ``, 400, "invalid-parameter"},
		{"GET /operator/senders?held=perhaps", ``, 400, "invalid-parameter"},
		{"GET /operator/senders?find=a&find=b", ``, 400, "invalid-parameter"},
		{"GET /operator/senders?order=name", ``, 400, "unknown-parameter"},
		{"DELETE /operator/sessions/0123456789abcdef", ``, 404, "not-found"},
		{"DELETE /operator/senders/1", ``, 404, "unknown-sender"},
		{"DELETE /operator/senders/nobody", ``, 404, "unknown-sender"},
		{"PATCH " + at(1), `{"name":"x"}`, 404, "unknown-sender"},
		{"POST " + at(1) + "/token", ``, 404, "unknown-sender"},
		{"PATCH " + at(lamp.ID), `{}`, 400, "invalid-body"},
		{"PATCH " + at(lamp.ID), ``, 415, "unsupported-media-type"},
		{"PATCH " + at(lamp.ID), `{"id":5}`, 400, "unknown-field"},
		{"PATCH " + at(lamp.ID), `{"name":"a b"}`, 400, "invalid-name"},
		{"PATCH " + at(lamp.ID), `{"name":""}`, 400, "invalid-name"},
		{"PATCH " + at(lamp.ID), `{"name":"other"}`, 409, "name-taken"},
		{"PATCH " + at(lamp.ID), `{"name":"ulook.phone"}`, 409, "name-protected"},
		{"PATCH " + at(lamp.ID), `{"name":"other","protected":true}`, 409, "name-taken"},
		{"PATCH " + at(lamp.ID), `{"protected":"yes"}`, 400, "invalid-field"},
		{"PATCH " + at(r.register("").ID), `{"protected":true}`, 400, "invalid-name"},
		{"PATCH " + at(r.wire("udp").id), `{"name":"wired","protected":true}`, 409, "no-token"},
		{"POST " + at(lamp.ID) + "/token", `{"name":"x"}`, 400, "unknown-field"},
	} {
		status, answer := r.operate(admin, c.call, c.body)
		assert.Equal(t, c.status, status, "%s %.80s: %s", c.call, c.body, answer)
		assert.Equal(t, c.kind, problemType(answer), "%s %.80s: %s", c.call, c.body, answer)
	}
	_, answer := r.operate(admin, "GET /operator/senders?find=lamp", "")
	assert.Contains(t, answer, `"name":"lamp","via":[],"state":"away"`)
	assert.Contains(t, answer, `"protected":false`)
	_ = other

	// What is not JSON is what a page of another origin can send without asking.
	for _, contentType := range []string{"", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"} {
		status, answer := r.call("POST", "/operator/session", contentType, fmt.Sprintf(`{"key":%q}`, adminKey))
		assert.Equal(t, 415, status, "%s: %s", contentType, answer)
	}
}

// No page of another origin may call this API, whatever http.cors_origins says.
func TestOperatorsHaveNoOtherOrigins(t *testing.T) {
	t.Parallel()
	cfg := office(t)
	cfg.HTTP.CORSOrigins = []string{"*"}
	r := startWith(t, cfg)
	for _, path := range []string{"/channels", "/operator/session"} {
		req, err := nethttp.NewRequest("OPTIONS", "http://"+r.at.HTTP+path, nil)
		require.NoError(t, err)
		req.Header = nethttp.Header{"Origin": {"https://elsewhere.example"}, "Access-Control-Request-Method": {"GET"}, "Access-Control-Request-Headers": {"authorization"}}
		res, err := web.Do(req)
		require.NoError(t, err)
		res.Body.Close()
		assert.Equal(t, path == "/channels", res.Header.Get("Access-Control-Allow-Origin") != "", path)
	}
}

func testConsole(t *testing.T) {
	for _, on := range []bool{true, false} {
		r := start(t, func(c *config.Config) { c.HTTP.Console, c.AdminKey = on, adminKey })
		status, answer := r.call("POST", "/operator/session", "application/json", fmt.Sprintf(`{"key":%q}`, adminKey))
		assert.Equal(t, map[bool]int{true: 200, false: 404}[on], status, answer)
	}
}

func testAdminKey(t *testing.T) {
	r := start(t, func(c *config.Config) { c.AdminKey = adminKey })
	status, answer := r.operate(r.asAdmin(), "GET /operator/session", "")
	assert.Equal(t, 200, status)
	assert.JSONEq(t, `{"role":"manage","name":"admin key","open":false}`, answer)
	assert.NoFileExists(t, filepath.Join(r.cfg.DataDir, "admin.key"))
}
