package http_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
)

func FuzzBodies(f *testing.F) {
	g := start(f)
	id, _ := g.register()
	stream := g.follow(fmt.Sprintf("channels=5&sender=%d", id))
	go func() { _, _ = stream.rest() }()
	for _, body := range []string{
		`{"secret_key":"x","name":"lamp","protected":true}`, `{"sender":%d,"channels":[5],"message":{"a":[1]}}`,
		`{"sender":%d,"channels":[5,6],"receivers":[%[1]d],"message":"x"}`, `{"sender":%d,"channels":[5],"receivers":[%[1]d],"message":null}`,
		`{"sender":%d,"channels":[5],"callback_url":"http://127.0.0.1:1/","echo":false}`, `[`, "\xff", `{"sender":1e1}`,
	} {
		for path := range uint8(5) {
			f.Add(path, []byte(fmt.Sprintf(body, id)))
		}
	}
	paths := []string{"/register", "/broadcast", "/send", "/channels/join/async", "/channels/leave"}
	f.Fuzz(func(t *testing.T, path uint8, body []byte) {
		fuzzOne(t, g, paths[int(path)%len(paths)], body)
	})
}

// fuzzOne sends a body to a call: it is refused with a problem, or taken, and
// never a fault of the gateway's.
func fuzzOne(t *testing.T, g *gateway, path string, body []byte) {
	w := httptest.NewRecorder()
	g.server.Handler().ServeHTTP(w, httptest.NewRequest("POST", path, bytes.NewReader(body)))
	require.Less(t, w.Code, 500, w.Body)
	require.True(t, json.Valid(w.Body.Bytes()), w.Body)
	if w.Code == 200 {
		require.Equal(t, "application/json", w.Header().Get("Content-Type"))
		return
	}
	require.Equal(t, "application/problem+json", w.Header().Get("Content-Type"))
	var p struct {
		Type, Title, Detail string
		Status              int
	}
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &p))
	require.Equal(t, w.Code, p.Status)
	require.NotEmpty(t, p.Detail)
}
