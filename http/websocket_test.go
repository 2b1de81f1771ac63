package http_test

import (
	"encoding/json"
	"fmt"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
	"watchtower/http"
	"watchtower/internal/harness"
)

// live is a WebSocket.
type live struct {
	*websocket.Conn
	t testing.TB
}

func (g *gateway) live(query string) *live {
	g.t.Helper()
	conn, resp, err := websocket.DefaultDialer.Dial(strings.Replace(g.url, "http", "ws", 1)+"/channels/join?"+query, nil)
	require.NoError(g.t, err)
	resp.Body.Close()
	g.t.Cleanup(func() { conn.Close() })
	return &live{conn, g.t}
}

func (l *live) next() obj {
	l.t.Helper()
	require.NoError(l.t, l.SetReadDeadline(time.Now().Add(30*time.Second)))
	kind, b, err := l.ReadMessage()
	require.NoError(l.t, err)
	assert.Equal(l.t, websocket.TextMessage, kind)
	var v obj
	require.NoError(l.t, json.Unmarshal(b, &v), string(b))
	require.NoError(l.t, described.Check("Heard", b))
	return v
}

func (l *live) say(v any) {
	l.t.Helper()
	require.NoError(l.t, described.Check("Said", []byte(encode(v))))
	require.NoError(l.t, l.WriteJSON(v))
}

func TestWebSocket(t *testing.T) {
	t.Parallel()
	g := start(t)
	a, _ := g.register()
	b, _ := g.register()
	one := g.live(fmt.Sprintf("channels=5,6&sender=%d", a))
	two := g.follow(fmt.Sprintf("channels=5&sender=%d", b))
	one.say(obj{"type": "broadcast", "channels": []int{5}, "message": "hello"})
	assert.Equal(t, "hello", one.next()["message"], "nothing but what was said")
	assert.Equal(t, "hello", two.next()["message"])
	one.say(obj{"type": "send", "channels": []int{5}, "receivers": []uint32{b}, "message": obj{"on": true}, "ref": 7, "ttl": 5})
	m := one.next()
	assert.Equal(t, "accepted", m["type"])
	assert.EqualValues(t, 7, m["ref"])
	heard := two.next()
	assert.Equal(t, m["id"], heard["id"])
	assert.Equal(t, obj{"on": true}, heard["message"])
	for _, size := range []int{0, 100, 125, 126, 60_000, 64_000} {
		text := strings.Repeat("x", size)
		g.say(b, text, 5)
		assert.Equal(t, text, one.next()["message"])
	}
	for what, field := range map[string]string{
		`{"type":"broadcast","channels":[7],"message":"x","ref":"r"}`:                "channels[0]",
		`{"type":"send","channels":[5],"message":"x","ref":"r"}`:                     "receivers",
		`{"type":"broadcast","channels":[5],"receivers":[1],"message":"","ref":"r"}`: "receivers",
		`{"type":"shout","ref":"r"}`:                                                 "type",
		`{"ref":"r"}`:                                                                "type",
		`{"type":"broadcast","channels":[5],"ref":"r"}`:                              "message",
		`{"type":"broadcast","channels":[5],"message":"x","ttl":0,"ref":"r"}`:        "ttl",
		`{"type":"broadcast","channels":[5],"message":"x","sender":1,"ref":"r"}`:     "sender",
		`[]`: "body",
		`{`:  "body",
	} {
		require.NoError(t, one.WriteMessage(websocket.TextMessage, []byte(what)))
		m := one.next()
		assert.Equal(t, "error", m["type"], what)
		assert.Equal(t, field, m["error"].(obj)["field"], what)
		assert.Contains(t, m["error"].(obj)["type"], "urn:watchtower:problem:", what)
		if len(what) > 2 {
			assert.Equal(t, "r", m["ref"])
		}
	}
	assert.Contains(t, g.do("GET", "/metrics", "").body, `watchtower_requests_refused_total{status="400"} 10`)
	g.say(b, "missed", 5)
	one.next()
	again := g.live(fmt.Sprintf("channels=5&sender=%d&since=%s", a, m["id"]))
	for range 6 {
		again.next()
	}
	assert.Equal(t, "missed", again.next()["message"])
	gap := g.live(fmt.Sprintf("channels=5&sender=%d&since=01ARZ3NDEKTSV4RRFFQ69G5FAV", a))
	assert.Equal(t, obj{"type": "gap", "channel": 5.0}, gap.next())
}

// A page cannot see pings: it may have heartbeats as messages, the first at once.
func TestHeartbeatsThatAPageCanRead(t *testing.T) {
	t.Parallel()
	g := start(t, func(_ *bridge.Options, o *options) { o.Heartbeat = 50 * time.Millisecond })
	id, _ := g.register()
	l := g.live(fmt.Sprintf("channels=5&sender=%d&heartbeats=true&since=all", id))
	l.SetPingHandler(func(string) error { t.Error("a ping"); return nil })
	for range 3 {
		assert.Equal(t, obj{"type": "heartbeat", "every": 0.05}, l.next())
	}
}

func TestTheEndOfAWebSocket(t *testing.T) {
	t.Parallel()
	g := start(t, func(_ *bridge.Options, o *options) { o.Heartbeat = 20 * time.Millisecond })
	id, _ := g.register()
	query := fmt.Sprintf("channels=5&sender=%d&linger=false", id)
	code := func(l *live) int {
		t.Helper()
		require.NoError(t, l.SetReadDeadline(time.Now().Add(30*time.Second)))
		for {
			if _, _, err := l.ReadMessage(); err != nil {
				var closed *websocket.CloseError
				require.ErrorAs(t, err, &closed)
				return closed.Code
			}
		}
	}
	l := g.live(query)
	pinged := make(chan struct{}, 100)
	l.SetPingHandler(func(string) error { pinged <- struct{}{}; return nil })
	ponged := make(chan string, 1)
	l.SetPongHandler(func(s string) error { ponged <- s; return nil })
	require.NoError(t, l.WriteControl(websocket.PingMessage, []byte("hey"), time.Now().Add(time.Second)))
	go func() { _, _, _ = l.ReadMessage() }()
	<-pinged
	<-pinged
	assert.Equal(t, "hey", <-ponged)
	l.Close()
	harness.Eventually(t, func() bool { n, _ := g.hub.Directory().Counts(); return n[http.Protocol] == 0 }, "it has left")

	l = g.live(query)
	require.NoError(t, l.WriteMessage(websocket.BinaryMessage, []byte("x")))
	assert.Equal(t, websocket.CloseUnsupportedData, code(l))
	l = g.live(query)
	require.NoError(t, l.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseNormalClosure, ""), time.Now().Add(time.Second)))
	assert.Equal(t, websocket.CloseNormalClosure, code(l))
	l = g.live(query)
	require.Equal(t, 200, g.post("/channels/leave", obj{"sender": id, "channels": []int{5}}).status)
	assert.Equal(t, websocket.CloseGoingAway, code(l))
	l = g.live(query)
	l.SetPingHandler(func(string) error { return nil }) // a pong would come too late
	g.say(id, "last words", 5)
	g.stop()
	assert.Equal(t, "last words", l.next()["message"])
	assert.Equal(t, websocket.CloseGoingAway, code(l))
}

func TestAWebSocketThatIsRefused(t *testing.T) {
	t.Parallel()
	g := start(t)
	id, _ := g.register()
	upgrade := []string{"Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="}
	problem(t, g.do("GET", "/channels/join?channels=5&sender=1", "", upgrade...), 401, "invalid-sender", "sender")
	problem(t, g.do("GET", fmt.Sprintf("/channels/join?channels=0&sender=%d", id), "", upgrade...), 400, "invalid-channel", "channels[0]")
	problem(t, g.do("GET", fmt.Sprintf("/channels/join?channels=5&sender=%d", id), "", upgrade[:4]...), 400, "invalid-field", "Upgrade")
	problem(t, g.do("GET", fmt.Sprintf("/channels/join?channels=5&sender=%d", id), "", append(upgrade, "Origin", "http://evil.example")...), 403, "foreign-origin", "Origin")
	members, _ := g.hub.Directory().Counts()
	assert.Zero(t, members[http.Protocol], "nothing is half done")
}

// Connections that come and go leave nothing behind.
func TestConnectsLeaveNothingBehind(t *testing.T) {
	harness.Alone(t)
	g := start(t)
	id, _ := g.register()
	query := fmt.Sprintf("channels=5&sender=%d&linger=false", id)
	g.live(query).Close()
	g.follow(query).close()
	harness.Eventually(t, func() bool { n, _ := g.hub.Directory().Counts(); return n[http.Protocol] == 0 }, "they have left")
	g.client.CloseIdleConnections()
	before := runtime.NumGoroutine()
	for i := range 1000 {
		switch i % 3 {
		case 0:
			g.live(query).Close()
		case 1:
			g.follow(query, "Accept", "text/event-stream").close()
		default: // closed without a Close frame, during the handshake
			conn, err := net.Dial("tcp", g.server.Addr().String())
			require.NoError(t, err)
			fmt.Fprintf(conn, "GET /channels/join?%s HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", query)
			conn.Close()
		}
	}
	g.client.CloseIdleConnections()
	harness.Eventually(t, func() bool {
		n, _ := g.hub.Directory().Counts()
		return n[http.Protocol] == 0 && runtime.NumGoroutine() <= before+5
	}, "goroutines stay")
}

// The server's end waits also for a stream that begins then.
func TestStreamsThatBeginAtTheEnd(t *testing.T) {
	t.Parallel()
	for range 50 {
		g := start(t)
		id, _ := g.register()
		join := fmt.Sprintf("GET /channels/join?channels=5&sender=%d HTTP/1.1", id)
		socket := []string{"Host: gw.lan", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="}
		assert.Equal(t, 101, g.raw(join, socket...).status)
		assert.Equal(t, 200, g.raw(join, "Host: gw.lan").status)
		g.stop()
	}
}
