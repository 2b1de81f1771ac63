package http_test

import (
	"fmt"
	nethttp "net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
)

// pass makes a short token with a sender's own token.
func (g *gateway) pass(token string, body obj) string {
	g.t.Helper()
	a := g.post("/tokens", body, "Authorization", "Bearer "+token)
	require.Equal(g.t, 200, a.status, a.body)
	text := a.json(g.t)["token"].(string)
	assert.Less(g.t, len(text), 400)
	return text
}

func TestAPassMayDoWhatItSays(t *testing.T) {
	t.Parallel()
	g := start(t)
	id, own := g.register("name", "kitchen")
	other, _ := g.register()
	defer g.follow(fmt.Sprintf("channels=5,6&sender=%d", id), "Authorization", "Bearer "+own).close()
	defer g.follow(fmt.Sprintf("channels=5&sender=%d", other)).close()
	for scope, status := range map[string]int{"hear": 403, "hear+speak": 200} {
		short := g.pass(own, obj{"scope": scope, "channels": []int{5, 7}})
		bearer := []string{"Authorization", "Bearer " + short}
		assert.Equal(t, obj{"id": float64(id), "name": "kitchen"}, g.do("GET", "/me", "", bearer...).json(t))
		assert.Equal(t, 200, g.do("GET", "/me?access_token="+short, "").status)
		g.follow("channels=5", bearer...).close()
		g.follow(fmt.Sprintf("channels=5,7&since=all&sender=%d&access_token=%s", id, short)).close()
		assert.Equal(t, status, g.post("/broadcast", obj{"channels": []int{5}, "message": "x"}, bearer...).status)
		assert.Equal(t, status, g.do("POST", "/broadcast?channels=5", "x", append(bearer, "Content-Type", "text/plain")...).status)
		assert.Equal(t, status, g.post("/send", obj{"channels": []int{5}, "receivers": []uint32{other}, "message": "x", "sender": id}, bearer...).status)
		for _, call := range []struct{ method, path, body, field string }{
			{"GET", "/channels/join?channels=6", "", "channels[0]"},
			{"GET", "/channels/join?channels=5,6", "", "channels[1]"},
			{"POST", "/broadcast", `{"channels":[5,6],"message":"x"}`, ""},
			{"POST", "/broadcast", `{"channels":[5],"message":"x","callback_url":"http://127.0.0.1/"}`, ""},
			{"POST", "/send", `{"channels":[6],"receivers":[1],"message":"x"}`, ""},
			{"POST", "/channels/leave", `{"channels":[6]}`, "channels[0]"},
			{"POST", "/channels/join", `{"channels":[5]}`, "scope"},
			{"GET", "/messages", "", "scope"},
			{"POST", "/register", `{"secret_key":"x"}`, "scope"},
			{"POST", "/tokens", `{}`, "scope"},
			{"GET", "/channels", "", "scope"},
			{"GET", "/channels/5/members", "", "scope"},
			{"POST", "/channels/join/async", `{"channels":[5],"callback_url":"http://127.0.0.1/"}`, "scope"},
			{"GET", "/callbacks", "", "scope"},
			{"POST", "/callbacks/rotate", `{}`, "scope"},
			{"POST", "/callbacks/replay", `{}`, "scope"},
			{"DELETE", fmt.Sprintf("/senders/%d", id), "", "scope"},
			{"GET", "/mqtt", "", "scope"},
		} {
			problem(t, g.do(call.method, call.path, call.body, bearer...), 403, "scope", call.field)
		}
		upgrade := []string{"Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA==", "Sec-WebSocket-Protocol", "mqtt"}
		for _, path := range []string{"/", "/mqtt"} {
			problem(t, g.do("GET", path, "", slices.Concat(bearer, upgrade)...), 403, "scope", "scope")
		}
		problem(t, g.do("GET", fmt.Sprintf("/channels/join?channels=5&sender=%d", other), "", bearer...), 401, "invalid-token", "sender")
		assert.Equal(t, 200, g.do("GET", "/metrics", "", bearer...).status)
	}
	all := g.pass(own, obj{"ttl": 60})
	assert.Equal(t, 200, g.post("/channels/join", obj{"channels": []int{9}}, "Authorization", "Bearer "+all).status)
	assert.Equal(t, 200, g.do("GET", "/messages?access_token="+all, "").status)
	_, known := g.hub.Tokens().Sender(own)
	assert.True(t, known, "its own token is still there")
}

func TestATokenThatIsRefused(t *testing.T) {
	t.Parallel()
	g := start(t)
	id, own := g.register()
	for body, field := range map[string]string{
		`{"scope":"speak"}`: "scope", `{"scope":5}`: "scope", `{"ttl":0}`: "ttl", `{"ttl":86401}`: "ttl", `{"ttl":"1h"}`: "ttl", `{"channels":[]}`: "channels",
		`{"channels":[0]}`: "channels[0]", `{"odd":1}`: "odd", `{"channels":[1` + strings.Repeat(",1", 50) + `,2]}`: "",
	} {
		a := g.do("POST", "/tokens", body, "Authorization", "Bearer "+own)
		if field == "" {
			assert.Equal(t, 200, a.status, "what is named twice counts once")
			continue
		}
		assert.Equal(t, 400, a.status, a.body)
		assert.Equal(t, field, a.json(t)["field"])
	}
	many := []int{}
	for c := range 51 {
		many = append(many, c+1)
	}
	problem(t, g.post("/tokens", obj{"channels": many}, "Authorization", "Bearer "+own), 400, "invalid-channel", "channels")
	problem(t, g.post("/tokens", obj{"sender": id}), 401, "invalid-token", "Authorization")
	problem(t, g.post("/tokens", obj{}, "Authorization", "Bearer wt_x"), 401, "invalid-token", "Authorization")
	problem(t, g.post("/tokens", obj{"sender": id + 1}, "Authorization", "Bearer "+own), 401, "invalid-token", "sender")
	a := g.do("GET", fmt.Sprintf("/channels/join?channels=5&sender=%d&access_token=%s", id, own), "")
	problem(t, a, 401, "invalid-token", "access_token")
	assert.Contains(t, a.body, "logs")
	short := g.pass(own, obj{})
	other := "A"
	if short[20] == 'A' {
		other = "B"
	}
	for _, forged := range []string{"wtp_", "wtp_AAAA", short[:len(short)-1], short + "A", short[:20] + other + short[21:], strings.Replace(short, "wtp_A", "wtp_B", 1)} {
		problem(t, g.do("GET", "/me?access_token="+url.QueryEscape(forged), ""), 401, "invalid-token", "access_token")
	}
	assert.Equal(t, 200, g.do("GET", "/me?access_token="+short, "").status)
}

func TestAnOperatorMakesPasses(t *testing.T) {
	t.Parallel()
	g := start(t, func(_ *bridge.Options, o *options) {
		o.Manages = func(r *nethttp.Request) (string, bool) {
			return "anna", r.Header.Get("Authorization") == "Bearer wtc_good"
		}
	})
	id, _ := g.register()
	a := g.post("/tokens", obj{"sender": id, "scope": "hear+speak"}, "Authorization", "Bearer wtc_good")
	require.Equal(t, 200, a.status, a.body)
	assert.EqualValues(t, id, g.do("GET", "/me", "", "Authorization", "Bearer "+a.json(t)["token"].(string)).json(t)["id"])
	problem(t, g.post("/tokens", obj{}, "Authorization", "Bearer wtc_good"), 401, "invalid-sender", "sender")
	problem(t, g.post("/tokens", obj{"sender": id}, "Authorization", "Bearer wtc_bad"), 401, "invalid-token", "Authorization")
	device := g.hub.Holds().New(func() {}).Sender().ID()
	problem(t, g.post("/tokens", obj{"sender": device}, "Authorization", "Bearer wtc_good"), 409, "no-token", "sender")
}

// socketWith opens a WebSocket that offers sub-protocols.
func (g *gateway) socketWith(query string, offered ...string) *live {
	g.t.Helper()
	d := websocket.Dialer{Subprotocols: offered}
	conn, resp, err := d.Dial(strings.Replace(g.url, "http", "ws", 1)+"/channels/join?"+query, nil)
	require.NoError(g.t, err)
	resp.Body.Close()
	g.t.Cleanup(func() { conn.Close() })
	return &live{conn, g.t}
}

// closed reads to the end of a WebSocket, and returns its close code.
func (l *live) closed() int {
	l.t.Helper()
	require.NoError(l.t, l.SetReadDeadline(time.Now().Add(30*time.Second)))
	for {
		if _, _, err := l.ReadMessage(); err != nil {
			var why *websocket.CloseError
			require.ErrorAs(l.t, err, &why)
			return why.Code
		}
	}
}

func TestAWebSocketWithAPass(t *testing.T) {
	t.Parallel()
	g := start(t)
	_, own := g.register()
	hear, speak := g.pass(own, obj{"channels": []int{5}}), g.pass(own, obj{"scope": "hear+speak", "channels": []int{5}})
	l := g.socketWith("channels=5", "watchtower", "watchtower.bearer."+hear)
	assert.Equal(t, "watchtower", l.Subprotocol())
	l.say(obj{"type": "broadcast", "channels": []int{5}, "message": "x", "ref": 1})
	assert.Equal(t, "urn:watchtower:problem:scope", l.next()["error"].(obj)["type"])
	s := g.socketWith("channels=5", "watchtower.bearer."+speak)
	assert.Equal(t, "watchtower.bearer."+speak, s.Subprotocol())
	s.say(obj{"type": "broadcast", "channels": []int{5}, "message": "x"})
	assert.Equal(t, "x", l.next()["message"])
	s.say(obj{"type": "broadcast", "channels": []int{6}, "message": "x", "ref": 1})
	for m := s.next(); m["type"] != "error"; m = s.next() {
	}
	require.Equal(t, 200, g.post("/channels/leave", obj{"channels": []int{5}}, "Authorization", "Bearer "+hear).status)
	assert.Equal(t, websocket.CloseGoingAway, l.closed(), "its own")
	s.say(obj{"type": "broadcast", "channels": []int{5}, "message": "still here"})
	assert.Equal(t, "still here", s.next()["message"], "not what another opened")
}

// Each cause ends the pass, and the streams that it opened.
func TestTheEndOfAPass(t *testing.T) {
	t.Parallel()
	for what, end := range map[string]func(*gateway, uint32, string){
		"time":        func(*gateway, uint32, string) {},
		"a new token": func(g *gateway, _ uint32, _ string) { g.register("name", "kitchen") },
		"deletion": func(g *gateway, id uint32, own string) {
			require.Equal(g.t, 204, g.do("DELETE", fmt.Sprintf("/senders/%d", id), "", "Authorization", "Bearer "+own).status)
		},
	} {
		t.Run(what, func(t *testing.T) {
			g := start(t)
			id, own := g.register("name", "kitchen")
			ttl := 60
			if what == "time" {
				ttl = 2
			}
			short := g.pass(own, obj{"ttl": ttl})
			f := g.follow("channels=5&access_token="+short, "Accept", "text/event-stream")
			l := g.socketWith("channels=5&access_token=" + short)
			end(g, id, own)
			code := l.closed()
			rest, err := f.rest()
			require.NoError(t, err)
			if what != "deletion" { // a deletion makes it leave
				assert.Equal(t, 4401, code)
				assert.Contains(t, rest, `"reason":"expired"`)
			}
			a := g.do("GET", "/me?access_token="+short, "")
			problem(t, a, 401, map[string]string{"time": "token-expired"}[what]+map[bool]string{true: "", false: "invalid-token"}[what == "time"], "access_token")
			if what == "deletion" { // the same name has the same id
				again, _ := g.register("name", "kitchen")
				assert.Equal(t, id, again)
				assert.Equal(t, 401, g.do("GET", "/me?access_token="+short, "").status)
			}
		})
	}
}

// A sender's own token says who asks, so the request need not.
func TestATokenNamesItsSender(t *testing.T) {
	t.Parallel()
	g := start(t)
	id, own := g.register("name", "kitchen", "protected", true)
	bearer := []string{"Authorization", "Bearer " + own}
	defer g.follow("channels=5", bearer...).close()
	assert.Equal(t, 200, g.post("/broadcast", obj{"channels": []int{5}, "message": "x"}, bearer...).status)
	assert.Equal(t, 200, g.do("POST", "/broadcast?channels=5", "x", append(bearer, "Content-Type", "text/plain")...).status)
	assert.Equal(t, 200, g.do("GET", "/channels/5/members", "", bearer...).status)
	assert.Equal(t, 200, g.post("/channels/join", obj{"channels": []int{6}}, bearer...).status)
	assert.Equal(t, 200, g.do("GET", "/messages", "", bearer...).status)
	assert.Equal(t, 200, g.do("GET", "/callbacks", "", bearer...).status)
	assert.Equal(t, 200, g.post("/channels/leave", obj{"channels": []int{6}}, bearer...).status)
	for _, wrong := range [][]string{nil, {"Authorization", "Bearer " + own + "x"}} {
		a := g.post("/broadcast", obj{"channels": []int{5}, "message": "x"}, wrong...)
		assert.Equal(t, 401, a.status, a.body)
	}
	assert.Equal(t, 401, g.post("/broadcast", obj{"channels": []int{5}, "message": "x", "sender": id + 1}, bearer...).status)
}
