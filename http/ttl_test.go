package http_test

import (
	"fmt"
	nethttp "net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
)

func TestWhatExpiresIsNotReplayed(t *testing.T) {
	t.Parallel()
	c := &clock{}
	g := start(t, func(b *bridge.Options, o *options) { o.Clock, b.Now = c.now, c.now })
	id, _ := g.register()
	f := g.follow(fmt.Sprintf("channels=5&sender=%d", id))
	defer f.close()
	require.Equal(t, 200, g.post("/broadcast", obj{"sender": id, "channels": []int{5}, "message": "valve", "ttl": 60}).status)
	require.Equal(t, 200, g.do("POST", fmt.Sprintf("/broadcast?channels=5&sender=%d&ttl=600", id), "light", "Content-Type", "text/plain").status)
	f.settled("light")
	assert.Equal(t, []string{"valve", "light"}, g.missed(id, "all", 5))
	c.ns.Add(int64(time.Minute))
	assert.Equal(t, []string{"light"}, g.missed(id, "all", 5)[:1])
	for _, ttl := range []any{0, -1, 1.5, "5", nil, 1 << 32} {
		problem(t, g.post("/broadcast", obj{"sender": id, "channels": []int{5}, "message": "x", "ttl": ttl}), 400, "invalid-field", "ttl")
	}
	problem(t, g.do("POST", fmt.Sprintf("/broadcast?channels=5&sender=%d&ttl=soon", id), "x", "Content-Type", "text/plain"), 400, "invalid-field", "ttl")
}

func TestACallbackIsNotGivenWhatHasExpired(t *testing.T) {
	t.Parallel()
	c := &clock{}
	g := start(t, func(b *bridge.Options, o *options) { b.Now = c.now })
	id, _ := g.register()
	failing := true
	r := receive(t, func(w nethttp.ResponseWriter, body string) {
		if failing {
			c.ns.Add(int64(time.Minute))
			w.WriteHeader(500)
		}
		failing = false
	})
	require.Equal(t, 200, g.post("/channels/join/async", obj{"sender": id, "channels": []int{5}, "callback_url": r.URL}).status)
	require.Equal(t, 200, g.post("/broadcast", obj{"sender": id, "channels": []int{5}, "message": "1", "ttl": 30}).status)
	require.Equal(t, 200, g.post("/broadcast", obj{"sender": id, "channels": []int{5}, "message": "2"}).status)
	assert.Equal(t, "1", r.next(t).json(t)["message"])
	assert.Equal(t, "2", r.next(t).json(t)["message"], "not the first again")
	assert.Equal(t, 1, g.undelivered(bridge.Expired))
}
