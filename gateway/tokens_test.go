package gateway_test

import (
	"fmt"
	"io"
	nethttp "net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/internal/harness/browser"
)

// shortToken makes a token for a page by a sender's own.
func (r *running) shortToken(own, body string) string {
	r.t.Helper()
	status, answer := r.callWith(own, "POST", "/tokens", body)
	assert.Equal(r.t, 200, status, answer)
	_, rest, _ := strings.Cut(answer, `"token":"`)
	text, _, _ := strings.Cut(rest, `"`)
	return text
}

// callWith makes a request with a token.
func (r *running) callWith(token, method, path, body string) (int, string) {
	r.t.Helper()
	req, err := nethttp.NewRequest(method, "http://"+r.at.HTTP+path, strings.NewReader(body))
	require.NoError(r.t, err)
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := web.Do(req)
	require.NoError(r.t, err)
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	require.NoError(r.t, err)
	return res.StatusCode, string(b)
}

// A page follows a channel by EventSource, and speaks by WebSocket, with a token in
// either place. The token outlives a restart, is never logged, and ends with the key.
func TestAPageWithAToken(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	r := startWith(t, cfg)
	own := r.register("page").Token
	hear, speak := r.shortToken(own, `{"channels":[5]}`), r.shortToken(own, `{"scope":"hear+speak"}`)
	page := browser.Open(t, "http://"+r.at.HTTP+"/metrics")
	assert.Equal(t, "hello hello watchtower", script(t, page, fmt.Sprintf(`new Promise((done, failed) => {
		const heard = []
		const hear = (text, socket) => { heard.push(JSON.parse(text).message); if (heard.length == 2) done(heard.join(" ") + " " + socket.protocol) }
		const events = new EventSource("/channels/join?channels=5&access_token=%s")
		events.onerror = () => failed("events")
		let socket
		events.onmessage = e => hear(e.data, socket)
		events.onopen = () => {
			socket = new WebSocket("/channels/join?channels=5", ["watchtower", "watchtower.bearer.%s"])
			socket.onerror = () => failed("socket")
			socket.onmessage = e => hear(e.data, socket)
			socket.onopen = () => socket.send(JSON.stringify({ type: "broadcast", channels: [5], message: "hello" }))
		}
	})`, hear, speak)))
	assert.Equal(t, "4401 false", script(t, page, fmt.Sprintf(`new Promise(done => {
		const socket = new WebSocket("/channels/join?channels=5&access_token=%s")
		socket.onopen = () => 0
		socket.onclose = e => done(e.code + " " + (e.reason == ""))
	})`, r.shortToken(own, `{"ttl":2}`))))
	status, _ := r.callWith(speak, "GET", "/me", "")
	assert.Equal(t, 200, status)
	r.stop()
	for _, secret := range []string{hear, speak, own} {
		assert.NotContains(t, r.log.String(), secret)
	}
	assert.Contains(t, r.log.String(), "/channels/join", "though requests were logged")

	const told = "the secret key is another than at the last start"
	r = startWith(t, cfg)
	status, answer := r.callWith(hear, "GET", "/me", "")
	assert.Equal(t, 200, status, answer)
	assert.NotContains(t, r.log.String(), told)
	r.stop()
	cfg.SecretKey = "another key than before"
	r = startWith(t, cfg)
	assert.Contains(t, r.log.String(), told)
	status, answer = r.callWith(hear, "GET", "/me", "")
	assert.Equal(t, 401, status, answer)
}
