package http_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
	"watchtower/callback"
	"watchtower/history"
	"watchtower/http"
	"watchtower/internal/harness"
)

// memory is a store that keeps nothing, or fails.
type memory struct {
	mu    sync.Mutex
	err   error
	saved map[bridge.SenderID]bridge.Record
}

func (m *memory) fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.err = err
}

func (m *memory) forget() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.saved = nil
}

func (m *memory) Load() ([]bridge.Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []bridge.Record
	for _, r := range m.saved {
		out = append(out, r)
	}
	return out, nil
}

func (m *memory) Save(r bridge.Record) func() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.saved == nil {
		m.saved = map[bridge.SenderID]bridge.Record{}
	}
	m.saved[r.ID] = r
	err := m.err
	return func() error { return err }
}

func (m *memory) Delete(id bridge.SenderID) func() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.saved, id)
	return func() error { return nil }
}

func TestListAndMembers(t *testing.T) {
	t.Parallel()
	g := start(t)
	id, _ := g.register("name", "lamp")
	list := fmt.Sprintf("/channels?sender=%d", id)
	a := g.do("GET", list, "")
	assert.Equal(t, 204, a.status)
	assert.Empty(t, a.body)
	f := g.follow(fmt.Sprintf("channels=9,5,9&sender=%d&linger=false", id))
	assert.Equal(t, `{"channels":[5,9]}`, strings.TrimSpace(g.do("GET", list, "").body))
	assert.Equal(t, fmt.Sprintf(`{"count":1,"members":[{"id":%d,"name":"lamp","via":"http"}]}`, id),
		strings.TrimSpace(g.do("GET", fmt.Sprintf("/channels/9/members?sender=%d", id), "").body))
	f.close()
	harness.Eventually(t, func() bool { return g.do("GET", list, "").status == 204 }, "linger=false leaves at once")
}

func TestLeaveEndsWhatItLeaves(t *testing.T) {
	t.Parallel()
	g := start(t)
	id, _ := g.register()
	f := g.follow(fmt.Sprintf("channels=5,6&sender=%d", id))
	leave := func(channels ...int) answer {
		return g.post("/channels/leave", obj{"sender": id, "channels": channels})
	}
	a := leave(6, 77, 6)
	assert.Equal(t, 200, a.status)
	assert.Equal(t, `{"channels":[6,77]}`, strings.TrimSpace(a.body))
	problem(t, g.post("/broadcast", obj{"sender": id, "channels": []int{6}, "message": 1}), 400, "unjoined-channel", "channels[0]")
	require.Equal(t, 200, g.post("/broadcast", obj{"sender": id, "channels": []int{5}, "message": "last"}).status)
	assert.Equal(t, "last", f.next()["message"])
	assert.Equal(t, 200, leave(5).status)
	why := f.next()
	assert.Equal(t, obj{"type": "end", "reason": "left", "detail": "the sender left the channels"}, why)
	_, err := f.rest()
	require.NoError(t, err, "the stream ends as it should")
	problem(t, g.do("GET", fmt.Sprintf("/channels/5/members?sender=%d", id), ""), 400, "unjoined-channel", "path") // no lingering
}

func TestDeleteEndsStreams(t *testing.T) {
	t.Parallel()
	g := start(t)
	id, _ := g.register()
	f := g.follow(fmt.Sprintf("channels=5,6&sender=%d", id))
	assert.Equal(t, 204, g.do("DELETE", fmt.Sprintf("/senders/%d", id), "").status)
	_, err := f.rest()
	assert.NoError(t, err)
	problem(t, g.do("DELETE", fmt.Sprintf("/senders/%d", id), ""), 401, "invalid-sender", "sender")
}

func TestContentTypes(t *testing.T) {
	t.Parallel()
	g := start(t)
	id, _ := g.register()
	f := g.follow(fmt.Sprintf("channels=5&sender=%d", id))
	body := fmt.Sprintf(`{"sender":%d,"channels":[5],"message":"m"}`, id)
	query := fmt.Sprintf("/broadcast?channels=5&sender=%d", id)
	for _, c := range []struct {
		path, contentType, body string
		status                  int
		message, encoding       any
	}{
		{"/broadcast", "", body, 200, "m", nil},
		{"/broadcast", "application/json; charset=utf-8", body, 200, "m", nil},
		{"/broadcast", "Application/JSON", body, 200, "m", nil},
		{"/broadcast", "application/x-www-form-urlencoded", body, 200, "m", nil},
		{"/broadcast", "text/plain", body, 415, nil, nil},
		{"/broadcast", "nonsense;;;", body, 415, nil, nil},
		{"/register", "text/plain", body, 415, nil, nil},
		{query, "text/plain", "a\nb", 200, "a\nb", nil},
		{query, "text/plain", `{"a":1}`, 200, `{"a":1}`, nil},
		{query, "application/octet-stream", "\xff\x00", 200, "/wA=", "base64"},
		{query, "text/plain", "\xff", 200, "/w==", "base64"},
		{query, "application/x-www-form-urlencoded", "a=b", 200, "a=b", nil},
		{query, "application/octet-stream", "", 200, "", nil},
		{query, "", body, 400, nil, nil},
		{query, "application/json", body, 400, nil, nil},
		{query + "&odd=1", "text/plain", "x", 400, nil, nil},
		{query, "text/plain", strings.Repeat("x", 64000), 200, strings.Repeat("x", 64000), nil},
		{query, "text/plain", strings.Repeat("x", 64001), 413, nil, nil},
		{"/broadcast?channels=5&sender=0", "text/plain", strings.Repeat("x", 64001), 401, nil, nil},
		{"/broadcast?channels=5&sender=0", "application/json", "{}", 401, nil, nil},
		{"/broadcast?channels=5", "application/json", "{}", 401, nil, nil},
	} {
		a := g.do("POST", c.path, c.body, "Content-Type", c.contentType)
		require.Equal(t, c.status, a.status, "%s %s %s", c.path, c.contentType, a.body)
		if c.status == 200 {
			m := f.next()
			assert.Equal(t, c.message, m["message"])
			assert.Equal(t, c.encoding, m["encoding"])
			assert.Equal(t, m["id"], a.json(t)["id"])
		}
	}
	problem(t, g.do("POST", "/broadcast", body, "Content-Encoding", "gzip"), 415, "unsupported-media-type", "Content-Encoding")
}

func TestRawSend(t *testing.T) {
	t.Parallel()
	g := start(t)
	a, _ := g.register()
	b, _ := g.register()
	fa := g.follow(fmt.Sprintf("channels=5&sender=%d", a))
	fb := g.follow(fmt.Sprintf("channels=5&sender=%d", b))
	path := fmt.Sprintf("/send?channels=5&sender=%d&receivers=%d,%d", a, b, b)
	require.Equal(t, 200, g.do("POST", path, "only b", "Content-Type", "text/plain").status)
	require.Equal(t, 200, g.post("/broadcast", obj{"sender": a, "channels": []int{5}, "message": "both"}).status)
	m := fb.next()
	assert.Equal(t, "only b", m["message"])
	assert.Equal(t, "send", m["type"])
	assert.Equal(t, "both", fb.next()["message"], "a receiver named twice gets it once")
	assert.Equal(t, "both", fa.next()["message"])
}

func TestANameStandsForAReceiver(t *testing.T) {
	t.Parallel()
	g := start(t)
	a, _ := g.register()
	b, _ := g.register("name", "valve1")
	fa := g.follow(fmt.Sprintf("channels=5&sender=%d", a))
	fb := g.follow(fmt.Sprintf("channels=5&sender=%d", b))
	require.Equal(t, 200, g.post("/send", obj{"sender": a, "channels": []int{5}, "receivers": []any{"valve1"}, "message": "1"}).status)
	require.Equal(t, 200, g.post("/send", obj{"sender": a, "channels": []int{5}, "receivers": []any{"valve1", b, fmt.Sprint(b), a}, "message": "2"}).status)
	require.Equal(t, 200, g.do("POST", fmt.Sprintf("/send?channels=5&sender=%d&receivers=valve1,%d", a, a), "3", "Content-Type", "text/plain").status)
	for _, want := range []string{"1", "2", "3"} {
		assert.Equal(t, want, fb.next()["message"])
	}
	assert.Equal(t, "2", fa.next()["message"])
	assert.Equal(t, "3", fa.next()["message"])
}

func TestMessageValues(t *testing.T) {
	t.Parallel()
	g := start(t)
	id, _ := g.register("name", "lamp")
	f := g.follow(fmt.Sprintf("channels=5&sender=%d", id))
	for given, shown := range map[string]string{
		`"a<b> & \u2028 \"\u0000é"`: "\"a<b> & \u2028 \\\"\\u0000é\"", `null`: `null`, `{ "a" : [ 1.0 , true ] }`: `{"a":[1.0,true]}`,
		`1e400`: `1e400`, `""`: `""`, `false`: `false`, `"<&>"`: `"<&>"`, `["<&>"]`: `["<&>"]`,
	} {
		a := g.do("POST", "/broadcast", fmt.Sprintf(`{"message":%s,"sender":%d,"channels":[5,5]}`, given, id))
		require.Equal(t, 200, a.status, a.body)
		var text string
		for text == "" {
			text = f.line()
		}
		assert.Regexp(t, `^\{"id":"[0-9A-Z]{26}","time":"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z","type":"broadcast","channel":5,"sender":\d+,"name":"lamp","message":`, text)
		assert.True(t, strings.HasSuffix(text, `,"message":`+shown+`}`), "%s: %s", given, text)
	}
}

func TestBodiesOverTheLimitAreAnswered(t *testing.T) {
	t.Parallel()
	g := start(t)
	huge := bytes.Repeat([]byte(" "), 2<<20)
	for name, body := range map[string]io.Reader{
		"with Content-Length":    bytes.NewReader(huge),
		"without Content-Length": io.MultiReader(bytes.NewReader(huge)),
	} {
		resp, err := g.client.Post(g.url+"/broadcast", "application/json", body)
		require.NoError(t, err, name)
		assert.Equal(t, 413, resp.StatusCode, name)
		require.NoError(t, resp.Body.Close())
	}
	c, err := net.Dial("tcp", g.server.Addr().String())
	require.NoError(t, err)
	defer c.Close()
	fmt.Fprintf(c, "POST /broadcast HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999\r\nExpect: 100-continue\r\n\r\n")
	b, err := io.ReadAll(c)
	require.NoError(t, err)
	assert.Contains(t, string(b), "413", "nobody is asked to send what is too large")
	assert.NotContains(t, string(b), "100 Continue")
}

func TestSlowAndBrokenBodies(t *testing.T) {
	t.Parallel()
	g := start(t, func(_ *bridge.Options, o *options) { o.ReadTimeout = 300 * time.Millisecond })
	for request, status := range map[string]string{
		"POST /broadcast HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{":              "408",
		"POST /broadcast HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n": "400",
	} {
		c, err := net.Dial("tcp", g.server.Addr().String())
		require.NoError(t, err)
		fmt.Fprint(c, request)
		b, err := io.ReadAll(c)
		require.NoError(t, err)
		assert.True(t, strings.HasPrefix(string(b), "HTTP/1.1 "+status), string(b))
		assert.Contains(t, string(b), "application/problem+json")
		require.NoError(t, c.Close())
	}
}

func TestHealthAndMetrics(t *testing.T) {
	t.Parallel()
	g := start(t)
	assert.Equal(t, `{"status":"ok"}`, strings.TrimSpace(g.do("GET", "/healthz", "").body))
	assert.Equal(t, 200, g.do("HEAD", "/healthz", "").status)
	id, _ := g.register()
	f := g.follow(fmt.Sprintf("channels=5&sender=%d", id))
	require.Equal(t, 200, g.post("/broadcast", obj{"sender": id, "channels": []int{5}, "message": 1}).status)
	f.next()
	g.do("GET", "/nothing", "")
	m := g.do("GET", "/metrics", "").body
	for _, p := range bridge.Protocols() {
		for _, r := range bridge.Reasons() {
			assert.Contains(t, m, fmt.Sprintf("watchtower_drops_total{protocol=%q,reason=%q} 0\n", p.String(), r.String()))
		}
	}
	for _, text := range []string{
		`watchtower_messages_in_total{protocol="http"} 1`, `watchtower_messages_out_total{protocol="http"} 1`,
		`watchtower_messages_in_total{protocol="udp"} 0`, `watchtower_members{protocol="http"} 1`,
		`watchtower_members{protocol="udp"} 0`, `watchtower_members{protocol="callback"} 0`, `watchtower_senders 1`, `watchtower_queue_messages{protocol="http"} 0`,
		`watchtower_requests_refused_total{status="404"} 1`, "go_goroutines", "process_open_fds",
	} {
		assert.Contains(t, m, text+map[bool]string{true: "\n"}[strings.HasPrefix(text, "watchtower")])
	}
}

func TestTakenPortFailsTheStart(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	hub, err := bridge.New(bridge.Options{})
	require.NoError(t, err)
	o := defaults()
	o.Listen = l.Addr().String()
	past := history.New(hub, o.History, nil)
	callbacks, err := callback.New(hub, past, o.Callbacks, nil)
	require.NoError(t, err)
	s := http.New(hub, past, callbacks, o.Options, nil)
	assert.ErrorContains(t, s.Listen(), "http.listen "+o.Listen)
}

// An error names the field and its value.
func TestWhatIsSaidOfBadInput(t *testing.T) {
	t.Parallel()
	g := start(t)
	id, _ := g.register()
	detail := func(a answer) string { return a.json(t)["detail"].(string) }
	assert.Contains(t, detail(g.post("/register", obj{"secret_key": secretKey, "name": "a b"})), `"a b"`)
	assert.Contains(t, detail(g.post("/channels/join/async", obj{"sender": id, "channels": []int{5}, "callback_url": 5})), "5 is not a string")
	assert.Contains(t, detail(g.post("/channels/join/async", obj{"sender": id, "channels": []int{5}, "callback_url": nil})), "null is not a string")
	unreadable := g.do("GET", fmt.Sprintf("/channels?sender=%d;x=1", id), "")
	problem(t, unreadable, 401, "invalid-sender", "query")
	assert.Contains(t, detail(unreadable), "semicolon")
}

// Half a surrogate pair is no character: replacing it would change the message.
func TestTextThatIsNone(t *testing.T) {
	t.Parallel()
	g := start(t)
	id, _ := g.register()
	defer g.follow(fmt.Sprintf("channels=5&sender=%d", id)).close()
	say := func(message string) answer {
		return g.do("POST", "/broadcast", fmt.Sprintf(`{"sender":%d,"channels":[5],"message":%s}`, id, message))
	}
	for _, message := range []string{
		`"\ud800"`, `"\uDFFFx"`, `"\ufffd\ud800"`, "\"\ufffd\\ud800\"", `"\ud800\\ufffd"`, `"\ud800\u0041"`, `"\ud83d\n\ude00"`, `"\\\ude00"`,
	} {
		problem(t, say(message), 400, "invalid-message", "message")
	}
	for _, message := range []string{`"\ud83d\ude00"`, `"\\ud800"`, `"x\\\\ud800\u0041"`, `"\ufffd"`, `"\uFFFD"`, "\"\ufffd\"", `["\ud800"]`} {
		assert.Equal(t, 200, say(message).status, message)
	}
}

func TestAsManyChannelsAsASenderMayJoin(t *testing.T) {
	t.Parallel()
	g := start(t)
	id, _ := g.register()
	all := make([]string, 10_000)
	for i := range all {
		all[i] = fmt.Sprint(4_000_000_000 + i)
	}
	f := g.follow(fmt.Sprintf("channels=%s&sender=%d", strings.Join(all, ","), id))
	defer f.close()
	assert.Equal(t, 200, g.post("/broadcast", obj{"sender": id, "channels": []int{4_000_009_999}, "message": "x"}).status)
}
