package http_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
)

// refusal is a request that is refused, and its problem.
type refusal struct {
	name, method, path, body string
	status                   int
	code, field              string
}

func TestEveryRefusal(t *testing.T) {
	t.Parallel()
	g := start(t)
	id, _ := g.register()
	other, _ := g.register()
	device := g.hub.Holds().New(func() {}).Sender().ID()
	f := g.follow(fmt.Sprintf("channels=5,6&sender=%d", id))
	defer f.close()

	unknown := uint32(1)
	for unknown == id || unknown == other || unknown == uint32(device) {
		unknown++
	}
	var cases []refusal
	cases = append(cases, registerRefusals()...)
	cases = append(cases, senderRefusals(id, unknown, uint32(device))...)
	cases = append(cases, bodyRefusals(id)...)
	cases = append(cases, publishRefusals(id, other)...)
	cases = append(cases, queryRefusals(id)...)
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			problem(t, g.do(c.method, c.path, c.body), c.status, c.code, c.field)
		})
	}
	g.stop()
	rest, err := f.rest()
	assert.NoError(t, err)
	assert.Empty(t, strings.TrimSpace(rest), "nobody got anything")
}

func registerRefusals() []refusal {
	const path = "/register"
	key := encode(secretKey)
	return []refusal{
		{"no key", "POST", path, `{}`, 401, "invalid-secret-key", "secret_key"},
		{"no body", "POST", path, ``, 401, "invalid-secret-key", "secret_key"},
		{"wrong key", "POST", path, `{"secret_key":"x"}`, 401, "invalid-secret-key", "secret_key"},
		{"key of a wrong type", "POST", path, `{"secret_key":5}`, 401, "invalid-secret-key", "secret_key"},
		{"null key", "POST", path, `{"secret_key":null}`, 401, "invalid-secret-key", "secret_key"},
		{"key before fields", "POST", path, `{"secret_key":"x","odd":1}`, 401, "invalid-secret-key", "secret_key"},
		{"unknown fields", "POST", path, `{"secret_key":` + key + `,"odd":1,"even":2}`, 400, "unknown-field", "even, odd"},
		{"small and capital letters", "POST", path, `{"Secret_Key":` + key + `}`, 401, "invalid-secret-key", "secret_key"},
		{"bad name", "POST", path, `{"secret_key":` + key + `,"name":"a b"}`, 400, "invalid-name", "name"},
		{"empty name", "POST", path, `{"secret_key":` + key + `,"name":""}`, 400, "invalid-name", "name"},
		{"name of a wrong type", "POST", path, `{"secret_key":` + key + `,"name":5}`, 400, "invalid-field", "name"},
		{"protected of a wrong type", "POST", path, `{"secret_key":` + key + `,"protected":1}`, 400, "invalid-field", "protected"},
		{"unknown parameter", "POST", path + "?x=1", `{"secret_key":` + key + `}`, 400, "unknown-parameter", "x"},
		{"malformed", "POST", path, `{"secret_key":`, 400, "invalid-body", "body"},
		{"method", "GET", path, ``, 405, "method-not-allowed", "method"},
	}
}

// senderRefusals are all calls without a valid sender. All have other faults too: 401 comes
// before 400.
func senderRefusals(id, unknown, device uint32) []refusal {
	var out []refusal
	for name, sender := range map[string]string{
		"missing": "", "text": `"x"`, "zero": "0", "negative": "-1", "fraction": "7.5", "large": "4294967296",
		"null": "null", "exponent": "1e2", "list": "[1]", "unknown": fmt.Sprint(unknown), "device": fmt.Sprint(device),
	} {
		field := `"sender":` + sender + `,`
		if sender == "" {
			field = ""
		}
		code := map[string]string{"device": "invalid-token"}[name]
		if code == "" {
			code = "invalid-sender"
		}
		for _, path := range []string{"/broadcast", "/send", "/channels/join/async", "/channels/leave"} {
			out = append(out, refusal{name + path, "POST", path, `{` + field + `"channels":[],"odd":1,"callback_url":"x"}`, 401, code, "sender"})
		}
		for _, path := range []string{"/channels", "/channels/join", "/channels/0/members"} {
			out = append(out, refusal{name + path, "GET", path + "?odd=1&sender=" + sender, "", 401, code, "sender"})
		}
		if sender != "" {
			out = append(out, refusal{name + "/senders", "DELETE", "/senders/" + strings.ReplaceAll(sender, `"`, ""), "", 401, code, "sender"})
		}
	}
	return append(out, refusal{"twice", "GET", fmt.Sprintf("/channels?sender=%d&sender=%d", id, id), "", 401, "invalid-sender", "sender"})
}

func bodyRefusals(id uint32) []refusal {
	var out []refusal
	for _, path := range []string{"/broadcast", "/send", "/channels/join/async", "/channels/leave"} {
		ok := fmt.Sprintf(`{"sender":%d,`, id)
		out = append(out,
			refusal{"malformed" + path, "POST", path, ok, 400, "invalid-body", "body"},
			refusal{"garbage" + path, "POST", path, ok + `"x":1} {}`, 400, "invalid-body", "body"},
			refusal{"not UTF-8" + path, "POST", path, ok + "\"x\":\"\xff\"}", 400, "invalid-body", "body"},
			refusal{"array" + path, "POST", path, `[1]`, 400, "invalid-body", "body"},
			refusal{"null" + path, "POST", path, `null`, 400, "invalid-body", "body"},
			refusal{"unknown" + path, "POST", path, ok + `"x":1,"a":2}`, 400, "unknown-field", "a, x"},
			refusal{"parameter" + path, "POST", path + "?x=1&y=2", ok + `"channels":[5]}`, 400, "unknown-parameter", "x, y"},
			refusal{"large" + path, "POST", path, ok + strings.Repeat(" ", 6*64000+65536) + `}`, 413, "body-too-large", "body"},
			refusal{"method" + path, "PUT", path, ``, 405, "method-not-allowed", "method"},
		)
		for name, list := range map[string]string{
			"": `[]`, "[0]": `[0]`, "[1]": `[5,"6"]`, "[2]": `[5,6,4294967296]`, "[3]": `[5,5,5,-1]`, "[4]": `[5,5,5,5,1.5,0]`,
		} {
			out = append(out, refusal{"channels" + name + path, "POST", path, ok + `"channels":` + list + `,"message":1,"receivers":[1],"callback_url":"http://127.0.0.1/"}`, 400, "invalid-channel", "channels" + name})
		}
		for _, list := range []string{`5`, `null`, `"5"`, `{}`} {
			out = append(out, refusal{"channels " + list + path, "POST", path, ok + `"channels":` + list + `,"message":1}`, 400, "invalid-channel", "channels"})
		}
	}
	for i, r := range out { // the contract allows a field only in calls that have it
		if r.code == "invalid-channel" && !strings.HasSuffix(r.path, "async") {
			out[i].body = strings.Replace(out[i].body, `,"callback_url":"http://127.0.0.1/"`, "", 1)
		}
		if r.code == "invalid-channel" && r.path != "/send" {
			out[i].body = strings.Replace(out[i].body, `,"receivers":[1]`, "", 1)
		}
		if r.code == "invalid-channel" && strings.HasPrefix(r.path, "/channels") {
			out[i].body = strings.Replace(out[i].body, `,"message":1`, "", 1)
		}
	}
	return out
}

func publishRefusals(id, other uint32) []refusal {
	b := fmt.Sprintf(`{"sender":%d,`, id)
	long := encode(strings.Repeat("x", 64001))
	return []refusal{
		{"unjoined", "POST", "/broadcast", b + `"channels":[5,7],"message":1}`, 400, "unjoined-channel", "channels[1]"},
		{"send unjoined", "POST", "/send", b + fmt.Sprintf(`"channels":[7],"receivers":[%d],"message":1}`, id), 400, "unjoined-channel", "channels[0]"},
		{"no message", "POST", "/broadcast", b + `"channels":[5]}`, 400, "invalid-message", "message"},
		{"long", "POST", "/broadcast", b + `"channels":[0],"message":` + long + `}`, 413, "message-too-large", "message"},
		{"long JSON", "POST", "/send", b + `"message":[` + long + `]}`, 413, "message-too-large", "message"},
		{"receivers of a broadcast", "POST", "/broadcast", b + `"channels":[5],"receivers":[1],"message":1}`, 400, "unknown-field", "receivers"},
		{"no receivers", "POST", "/send", b + `"channels":[5],"message":1}`, 400, "invalid-receiver", "receivers"},
		{"empty receivers", "POST", "/send", b + `"channels":[5],"receivers":[],"message":1}`, 400, "invalid-receiver", "receivers"},
		{"receiver 0", "POST", "/send", b + `"channels":[5],"receivers":[1,0],"message":1}`, 400, "invalid-receiver", "receivers[1]"},
		{"receiver of no name", "POST", "/send", b + `"channels":[5],"receivers":["garden valve"],"message":1}`, 400, "invalid-receiver", "receivers[0]"},
		{"receiver true", "POST", "/send", b + `"channels":[5],"receivers":[true],"message":1}`, 400, "invalid-receiver", "receivers[0]"},
		{"receiver in digits", "POST", "/send", b + `"channels":[5],"receivers":["99999999999"],"message":1}`, 400, "invalid-receiver", "receivers[0]"},
		{"receiver unknown", "POST", "/send", b + `"channels":[5],"receivers":["nobody"],"message":1}`, 400, "unjoined-receiver", "receivers[0]"},
		{"receiver elsewhere", "POST", "/send", b + fmt.Sprintf(`"channels":[5],"receivers":[%d,%d],"message":1}`, id, other), 400, "unjoined-receiver", "receivers[1]"},
		{"too many", "POST", "/send", b + `"channels":[5,6],"receivers":[1` + strings.Repeat(",1", 1<<15) + `],"message":1}`, 400, "invalid-receiver", "receivers"},
		{"report to nowhere", "POST", "/broadcast", b + `"channels":[5],"message":1,"callback_url":"x"}`, 400, "invalid-callback-url", "callback_url"},
		{"report to 5", "POST", "/send", b + `"channels":[5],"receivers":[1],"message":1,"callback_url":5}`, 400, "invalid-callback-url", "callback_url"},
		{"report to nothing", "POST", "/broadcast", b + `"channels":[5],"message":1,"callback_url":""}`, 400, "invalid-callback-url", "callback_url"},
		{"no callback", "POST", "/channels/join/async", b + `"channels":[5]}`, 400, "invalid-callback-url", "callback_url"},
		{"empty callback", "POST", "/channels/join/async", b + `"channels":[5],"callback_url":""}`, 400, "invalid-callback-url", "callback_url"},
		{"echo", "POST", "/channels/join/async", b + `"channels":[5],"callback_url":"http://127.0.0.1/","echo":"no"}`, 400, "invalid-field", "echo"},
	}
}

func queryRefusals(id uint32) []refusal {
	join := fmt.Sprintf("/channels/join?sender=%d", id)
	out := []refusal{
		{"join nothing", "GET", join, "", 400, "invalid-channel", "channels"},
		{"join empty", "GET", join + "&channels=", "", 400, "invalid-channel", "channels"},
		{"join gap", "GET", join + "&channels=5,,6", "", 400, "invalid-channel", "channels[1]"},
		{"join text", "GET", join + "&channels=5,x", "", 400, "invalid-channel", "channels[1]"},
		{"join echo", "GET", join + "&channels=5&echo=1", "", 400, "invalid-field", "echo"},
		{"join linger", "GET", join + "&channels=5&linger=", "", 400, "invalid-field", "linger"},
		{"join heartbeats", "GET", join + "&channels=5&heartbeats=1", "", 400, "invalid-field", "heartbeats"},
		{"join twice", "GET", join + "&channels=5&echo=true&echo=false", "", 400, "invalid-field", "echo"},
		{"join broken", "GET", join + "&channels=%zz", "", 400, "unknown-parameter", "query"},
		{"join post", "POST", join, "", 401, "invalid-sender", "sender"},
		{"members unjoined", "GET", fmt.Sprintf("/channels/7/members?sender=%d", id), "", 400, "unjoined-channel", "path"},
		{"delete odd", "DELETE", fmt.Sprintf("/senders/%d?odd=1", id), "", 400, "unknown-parameter", "odd"},
		{"nothing there", "GET", "/nothing", "", 404, "not-found", "path"},
		{"almost there", "GET", "/channels/", "", 404, "not-found", "path"},
		{"not cleaned", "GET", "//channels", "", 404, "not-found", "path"},
	}
	for _, c := range []string{"0", "x", "4294967296", "-1", "1.0"} {
		out = append(out, refusal{"members " + c, "GET", fmt.Sprintf("/channels/%s/members?sender=%d", c, id), "", 400, "invalid-channel", "path"})
	}
	return out
}

func TestMethodsAreNamed(t *testing.T) {
	t.Parallel()
	g := start(t)
	for path, allow := range map[string]string{
		"/register": "POST", "/channels": "GET", "/channels/join": "GET, POST", "/channels/join/async": "POST", "/messages": "GET",
		"/channels/leave": "POST", "/channels/5/members": "GET", "/senders/5": "DELETE", "/broadcast": "POST",
		"/send": "POST", "/healthz": "GET, HEAD", "/metrics": "GET, HEAD",
	} {
		a := g.do("PATCH", path, "")
		problem(t, a, 405, "method-not-allowed", "method")
		assert.Equal(t, allow, a.header.Get("Allow"), path)
	}
}

func TestBusFailureIs500(t *testing.T) {
	t.Parallel()
	g := start(t)
	id, _ := g.register()
	defer g.follow(fmt.Sprintf("channels=5&sender=%d", id)).close()
	g.bus.Fail(errors.New("the broker is on fire"))
	for path, body := range map[string]obj{
		"/broadcast": {"sender": id, "channels": []int{5}, "message": 1},
		"/send":      {"sender": id, "channels": []int{5}, "message": 1, "receivers": []uint32{id}},
	} {
		a := g.post(path, body)
		problem(t, a, 500, "bus-failed", "")
		assert.Contains(t, a.body, path[1:]+" failed")
		assert.NotContains(t, a.body, "fire")
	}
}

func TestStoreFailureIs500(t *testing.T) {
	t.Parallel()
	store := &memory{err: errors.New("disk")}
	g := start(t, func(b *bridge.Options, _ *options) { b.Store = store })
	problem(t, g.post("/register", obj{"secret_key": secretKey}), 500, "store-failed", "")
	store.fail(nil)
	id, _ := g.register()
	store.fail(errors.New("disk"))
	body := obj{"sender": id, "channels": []int{5}, "callback_url": "http://127.0.0.1:1/"}
	problem(t, g.post("/channels/join/async", body), 500, "store-failed", "")
}

func TestOpenGatewayTakesAnyKey(t *testing.T) {
	t.Parallel()
	g := start(t, func(b *bridge.Options, _ *options) { b.SecretKey = "" })
	for _, body := range []string{``, `{}`, `{"secret_key":"x"}`, `{"secret_key":5}`, ` `} {
		a := g.do("POST", "/register", body)
		require.Equal(t, 200, a.status, a.body)
	}
	problem(t, g.do("POST", "/register", `{"odd":1}`), 400, "unknown-field", "odd")
}

func TestWhoMayUseAnID(t *testing.T) {
	t.Parallel()
	g := start(t)
	id, token := g.register("name", "lamp", "protected", true)
	path := fmt.Sprintf("/channels?sender=%d", id)
	problem(t, g.do("GET", path, ""), 401, "invalid-token", "sender")
	problem(t, g.do("GET", path, "", "Authorization", "Bearer wrong"), 401, "invalid-token", "Authorization")
	assert.Equal(t, 204, g.do("GET", path, "", "Authorization", "bearer "+token).status)

	again := obj{"secret_key": secretKey, "name": "lamp"}
	problem(t, g.post("/register", again), 401, "name-protected", "name")
	problem(t, g.post("/register", again, "Authorization", "Bearer wrong"), 401, "name-protected", "name")
	a := g.post("/register", again, "Authorization", "Bearer "+token)
	require.Equal(t, 200, a.status)
	assert.EqualValues(t, id, a.json(t)["id"])
	problem(t, g.do("GET", path, "", "Authorization", "Bearer "+token), 401, "invalid-token", "")
	fresh := "Bearer " + a.json(t)["token"].(string)
	assert.Equal(t, 204, g.do("GET", path, "", "Authorization", fresh).status)
	assert.Equal(t, 204, g.do("DELETE", fmt.Sprintf("/senders/%d", id), "", "Authorization", fresh).status)
	problem(t, g.do("GET", path, "", "Authorization", fresh), 401, "invalid-sender", "sender")

	hold := g.hub.Holds().New(func() {})
	problem(t, g.do("DELETE", fmt.Sprintf("/senders/%d", hold.Sender().ID()), ""), 401, "invalid-token", "")
}
