package http_test

import (
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
	"watchtower/internal/harness"
)

func TestSecretsAreRotated(t *testing.T) {
	t.Parallel()
	store, senders := &rows{}, &memory{}
	c := &clock{}
	with := func(b *bridge.Options, o *options) {
		b.Store, b.Now = senders, c.now
		o.Callbacks.Store, o.Callbacks.SigningKey = store, []byte("key")
	}
	g := start(t, with)
	r := receive(t, nil)
	id, token := g.register()
	restarted := func() { g.stop(); g = start(t, with) }
	call := obj{"sender": id, "channels": []int{5}, "callback_url": r.URL}
	var mine []string
	secret := func() string { return g.post("/channels/join/async", call, mine...).json(t)["secret"].(string) }
	verifies := func(p posted, secret string) bool {
		official, err := standardwebhooks.NewWebhook(secret)
		require.NoError(t, err)
		return official.Verify([]byte(p.body), p.header) == nil
	}
	old := secret()
	rotate := obj{"sender": id, "callback_url": r.URL}
	problem(t, g.post("/callbacks/rotate", rotate), 401, "invalid-token", "Authorization")
	mine = []string{"Authorization", "Bearer " + token}
	assert.NotContains(t, g.post("/channels/join/async", call).json(t), "secret", "whoever knows an id alone is not told the secret of a callback that is there")
	a := g.post("/callbacks/rotate", rotate, mine...)
	require.Equal(t, 200, a.status, a.body)
	fresh := a.json(t)["secret"].(string)
	assert.NotEqual(t, old, fresh)
	assert.Equal(t, fresh, secret())
	say := func() posted { g.say(id, "x", 5); return r.next(t) }
	p := say()
	assert.True(t, verifies(p, old) && verifies(p, fresh), "both, for a day")
	restarted()
	require.Equal(t, 200, g.post("/channels/leave", obj{"sender": id, "channels": []int{5}}).status)
	assert.Equal(t, fresh, secret())
	p = say()
	assert.True(t, verifies(p, old) && verifies(p, fresh), "after a restart, a leave and a join, too")
	c.ns.Add(int64(time.Hour))
	first := fresh
	fresh = g.post("/callbacks/rotate", rotate, mine...).json(t)["secret"].(string)
	p = say()
	assert.True(t, verifies(p, old) && verifies(p, first) && verifies(p, fresh), "a second rotation takes nothing from the first")
	c.ns.Add(int64(23*time.Hour + time.Minute))
	p = say()
	assert.False(t, verifies(p, old), "its day is over")
	assert.True(t, verifies(p, first) && verifies(p, fresh))
	c.ns.Add(int64(25 * time.Hour))
	p = say()
	assert.False(t, verifies(p, old) || verifies(p, first))
	assert.True(t, verifies(p, fresh))
	for range 10 { // the first one begins a new day
		a = g.post("/callbacks/rotate", rotate, mine...)
	}
	problem(t, a, 429, "too-many-requests", "callback_url")
	c.ns.Add(int64(25 * time.Hour))
	fresh = secret()
	g.stop()

	g = start(t, with)
	assert.Equal(t, fresh, secret(), "after a restart")
	require.Equal(t, 200, g.post("/channels/leave", obj{"sender": id, "channels": []int{5}}).status)
	assert.Empty(t, g.callbacks(id, token))
	assert.Equal(t, fresh, secret(), "and after a leave")
	problem(t, g.post("/callbacks/rotate", obj{"sender": id, "callback_url": "http://127.0.0.1:9/"}, mine...), 400, "invalid-callback-url", "callback_url")
	problem(t, g.post("/callbacks/rotate", obj{"sender": id}), 400, "invalid-callback-url", "callback_url")
	store.fail(errors.New("disk full"))
	problem(t, g.post("/callbacks/rotate", rotate, mine...), 500, "store-failed", "")
	store.fail(nil)
	require.Equal(t, 204, g.do("DELETE", fmt.Sprintf("/senders/%d", id), "").status)
}

// A bad answer is not quoted: it may be another service's secret.
func TestAnswersAreNotReadOut(t *testing.T) {
	t.Parallel()
	g := start(t, func(_ *bridge.Options, o *options) { o.Callbacks.Retries = 0 })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	go func() { // ends with the listener
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Write([]byte("HTTP/1.1 secret-of-another\r\n\r\n"))
			conn.Close()
		}
	}()
	id, token := g.register()
	g.join(id, "http://"+l.Addr().String(), 5)
	g.say(id, "x", 5)
	harness.Eventually(t, func() bool { return len(failedIDs(g.callbacks(id, token)[0])) == 1 }, "it is given up")
	assert.NotContains(t, fmt.Sprint(g.callbacks(id, token)), "secret-of-another")
	assert.Equal(t, "what came was no answer of HTTP", g.callbacks(id, token)[0]["last_error"].(obj)["detail"])
}

func TestARotatedSecretDoesNotComeBack(t *testing.T) {
	t.Parallel()
	g := start(t, func(_ *bridge.Options, o *options) { o.Callbacks.SenderCallbacks = 2 })
	id, token := g.register()
	join := func(n int) string {
		a := g.post("/channels/join/async", obj{"sender": id, "channels": []int{n}, "callback_url": fmt.Sprintf("http://127.0.0.1:9/%d", n)}, "Authorization", "Bearer "+token)
		require.Equal(t, 200, a.status, a.body)
		return a.json(t)["secret"].(string)
	}
	leave := func(n int) {
		require.Equal(t, 200, g.post("/channels/leave", obj{"sender": id, "channels": []int{n}}).status)
	}
	leaked := join(1)
	require.Equal(t, 200, g.post("/callbacks/rotate", obj{"sender": id, "callback_url": "http://127.0.0.1:9/1"}, "Authorization", "Bearer "+token).status)
	leave(1)
	join(2)
	join(3)
	leave(3)
	assert.NotEqual(t, leaked, join(1))
}

// A report to a URL that is not a callback is not signed: no client has a secret to check
// it.
func TestAReportToWhatIsNoCallbackIsNotSigned(t *testing.T) {
	t.Parallel()
	g := start(t)
	r := receive(t, nil)
	id, _ := g.register()
	g.post("/channels/join/async", obj{"sender": id, "channels": []int{5}, "callback_url": r.URL + "/joined"})
	require.Equal(t, 200, g.post("/broadcast", obj{"sender": id, "channels": []int{5}, "message": "x", "callback_url": r.URL + "/report"}).status)
	wrong := g.post("/broadcast", obj{"sender": id, "channels": []int{5}, "message": "x", "callback_url": "ftp://x"})
	assert.Equal(t, "invalid callback URL", wrong.json(t)["title"], "in the contract's words")
	signed := map[string]bool{}
	for range 2 {
		p := r.next(t)
		_, message := p.json(t)["message"]
		signed[map[bool]string{true: "message", false: "report"}[message]] = p.header.Get("webhook-signature") != ""
	}
	assert.Equal(t, map[string]bool{"message": true, "report": false}, signed)
}

func TestACallbackThatIsOverTheLimitAfterARestartIsNotListed(t *testing.T) {
	t.Parallel()
	senders := &memory{}
	with := func(joined int) func(*bridge.Options, *options) {
		return func(b *bridge.Options, _ *options) { b.Store, b.SenderChannels = senders, joined }
	}
	g := start(t, with(2))
	id, token := g.register()
	for n := range 2 {
		require.Equal(t, 200, g.post("/channels/join/async", obj{"sender": id, "channels": []int{n + 1}, "callback_url": fmt.Sprintf("http://127.0.0.1:9/%d", n)}).status)
	}
	g.stop()
	g = start(t, with(1))
	assert.Len(t, g.callbacks(id, token), 1)
}

// Leaving does not give access to the secret either.
func TestASecretIsNotShownAfterALeave(t *testing.T) {
	t.Parallel()
	g := start(t)
	id, token := g.register()
	call := obj{"sender": id, "channels": []int{5}, "callback_url": "http://127.0.0.1:9/"}
	secret := g.post("/channels/join/async", call, "Authorization", "Bearer "+token).json(t)["secret"]
	require.NotNil(t, secret)
	require.Equal(t, 200, g.post("/channels/leave", obj{"sender": id, "channels": []int{5}}).status)
	assert.NotContains(t, g.post("/channels/join/async", call).json(t), "secret")
	assert.Equal(t, secret, g.post("/channels/join/async", call, "Authorization", "Bearer "+token).json(t)["secret"])
}
