package http_test

import (
	"context"
	"fmt"
	"io"
	"net"
	nethttp "net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
	"watchtower/internal/harness"
)

// poll empties a mailbox, and returns the contents of its messages.
func (g *gateway) poll(sender uint32, wait int) (all []string) {
	g.t.Helper()
	a := g.do("GET", fmt.Sprintf("/messages?sender=%d&wait=%d", sender, wait), "")
	require.Equal(g.t, 200, a.status, a.body)
	for _, m := range a.json(g.t)["messages"].([]any) {
		m := m.(obj)
		if m["type"] == "gap" {
			all = append(all, fmt.Sprint("gap ", m["channel"]))
		} else {
			all = append(all, fmt.Sprint(m["message"]))
		}
	}
	return all
}

func TestMailbox(t *testing.T) {
	t.Parallel()
	g := start(t)
	a, _ := g.register()
	b, _ := g.register()
	problem(t, g.do("GET", fmt.Sprintf("/messages?sender=%d", a), ""), 404, "not-found", "sender")
	join := obj{"sender": a, "channels": []int{6, 5}}
	for range 2 { // repeating has the same result
		assert.Equal(t, `{"channels":[5,6]}`+"\n", g.post("/channels/join", join).body)
	}
	defer g.follow(fmt.Sprintf("channels=5&sender=%d", b)).close()
	assert.Empty(t, g.poll(a, 0))
	g.say(b, "1", 5)
	assert.Equal(t, []string{"1"}, g.poll(a, 5))
	assert.Empty(t, g.poll(a, 0), "it was emptied")
	go func() {
		for g.server.Readers() == 0 {
			time.Sleep(time.Millisecond)
		}
		g.say(a, "mine", 6)
	}()
	began := time.Now()
	assert.Equal(t, []string{"mine"}, g.poll(a, 20), "as soon as it comes")
	assert.Less(t, time.Since(began), 5*time.Second)
	began = time.Now()
	assert.Empty(t, g.poll(a, 1))
	assert.Greater(t, time.Since(began), time.Second)

	require.Equal(t, 200, g.post("/channels/leave", join).status)
	problem(t, g.do("GET", fmt.Sprintf("/messages?sender=%d", a), ""), 404, "not-found", "sender")
	require.Equal(t, 200, g.post("/channels/join", obj{"sender": a, "channels": []int{5}, "since": "all", "echo": false}).status)
	g.say(a, "not heard", 5)
	g.say(b, "2", 5)
	harness.Eventually(t, func() bool { return g.idle() }, "it waits too")
	assert.Equal(t, []string{"1", "2"}, g.poll(a, 5))
	for field, wrong := range map[string]obj{
		"since": {"sender": a, "channels": []int{5}, "since": "yesterday"},
		"echo":  {"sender": a, "channels": []int{5}, "echo": 1},
		"wait":  {"sender": a, "channels": []int{5}, "wait": 1},
	} {
		p := g.post("/channels/join", wrong)
		assert.Equal(t, 400, p.status, p.body)
		assert.Equal(t, field, p.json(t)["field"])
	}
	for _, wait := range []string{"-1", "301", "x", "1.5"} {
		problem(t, g.do("GET", fmt.Sprintf("/messages?sender=%d&wait=%s", a, wait), ""), 400, "invalid-field", "wait")
	}
}

// Messages of a lost answer come again after a join with since, before the waiting ones,
// each once.
func TestAMailboxIsFilledAgain(t *testing.T) {
	t.Parallel()
	g := start(t)
	a, _ := g.register()
	b, _ := g.register()
	join := obj{"sender": a, "channels": []int{5}}
	require.Equal(t, 200, g.post("/channels/join", join).status)
	defer g.follow(fmt.Sprintf("channels=5,6&sender=%d", b)).close()
	first := g.say(b, "0", 5)
	g.say(b, "1", 5)
	g.say(b, "2", 5)
	harness.Eventually(t, func() bool { return len(g.poll(a, 1)) == 0 }, "the answers are lost")
	g.say(b, "3", 5)
	harness.Eventually(t, func() bool { return g.idle() }, "one waits")
	join["since"] = first
	require.Equal(t, 200, g.post("/channels/join", join).status)
	assert.Equal(t, []string{"1", "2", "3"}, g.poll(a, 5))
	assert.Empty(t, g.poll(a, 0))
	g.say(b, "4", 5)
	join["since"] = "01J00000000000000000000000"
	join["channels"] = []int{5, 6}
	harness.Eventually(t, func() bool { return g.idle() }, "one waits")
	require.Equal(t, 200, g.post("/channels/join", join).status)
	assert.Equal(t, []string{"gap 5", "gap 6", "0", "1", "2", "3", "4"}, g.poll(a, 5))
}

// Messages that come again with since are in the order of publication with waiting ones.
func TestAMailboxKeepsTheOrderWhenItIsFilled(t *testing.T) {
	t.Parallel()
	g := start(t)
	a, _ := g.register()
	b, _ := g.register()
	defer g.follow(fmt.Sprintf("channels=5,6&sender=%d", b)).close()
	require.Equal(t, 200, g.post("/channels/join", obj{"sender": a, "channels": []int{5}, "echo": false}).status)
	g.say(b, "1", 5)
	g.say(a, "2 mine", 5)
	g.say(b, "3", 6)
	g.say(b, "4", 5)
	harness.Eventually(t, g.idle, "they are handed out")
	require.Equal(t, 200, g.post("/channels/join", obj{"sender": a, "channels": []int{5, 6}, "since": "all"}).status)
	assert.Equal(t, []string{"1", "2 mine", "3", "4"}, g.poll(a, 5))
}

// The wait for a body that never comes ends as for any request.
func TestAPollWithAHalfBodyEnds(t *testing.T) {
	t.Parallel()
	g := start(t, func(_ *bridge.Options, o *options) { o.ReadTimeout = 200 * time.Millisecond })
	a, _ := g.register()
	require.Equal(t, 200, g.post("/channels/join", obj{"sender": a, "channels": []int{5}}).status)
	conn, err := net.Dial("tcp", strings.TrimPrefix(g.url, "http://"))
	require.NoError(t, err)
	defer conn.Close()
	_, err = fmt.Fprintf(conn, "GET /messages?sender=%d HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n", a)
	require.NoError(t, err)
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(20*time.Second)))
	_, err = io.Copy(io.Discard, conn)
	require.NoError(t, err, "it ends")
	began := time.Now()
	assert.Empty(t, g.poll(a, 1), "and a poll may wait for longer than a request may arrive")
	assert.Greater(t, time.Since(began), time.Second)
}

// Joining again with another echo applies from then on, and loses nothing.
func TestAMailboxChangesItsEcho(t *testing.T) {
	t.Parallel()
	g := start(t)
	a, _ := g.register()
	for i, echo := range []any{false, true, false, nil} {
		join := obj{"sender": a, "channels": []int{5}}
		if echo != nil {
			join["echo"] = echo
		}
		require.Equal(t, 200, g.post("/channels/join", join).status)
		text := fmt.Sprint(i)
		g.say(a, text, 5)
		require.Equal(t, 200, g.post("/send", obj{"sender": a, "channels": []int{5}, "receivers": []uint32{a}, "message": "to myself"}).status)
		want := []string{text, "to myself"}
		if echo == false {
			want = want[1:]
		}
		harness.Eventually(t, func() bool { return g.idle() }, "it was handed out")
		assert.Equal(t, want, g.poll(a, 5), "echo: %v", echo)
	}
}

func TestAFullMailboxSaysWhatItLost(t *testing.T) {
	t.Parallel()
	g := start(t, func(_ *bridge.Options, o *options) { o.StreamQueue = 3 })
	id, _ := g.register()
	require.Equal(t, 200, g.post("/channels/join", obj{"sender": id, "channels": []int{5, 6}}).status)
	for i := range 5 {
		g.say(id, i, 5)
	}
	harness.Eventually(t, func() bool { return g.dropped(bridge.QueueFull) == 2 }, "the oldest are dropped")
	assert.Equal(t, []string{"gap 5", "2", "3", "4"}, g.poll(id, 0))
	g.say(id, "next", 5)
	assert.Equal(t, []string{"next"}, g.poll(id, 5))
}

func TestWaitingEndsWithTheGateway(t *testing.T) {
	t.Parallel()
	g := start(t)
	id, _ := g.register()
	require.Equal(t, 200, g.post("/channels/join", obj{"sender": id, "channels": []int{5}}).status)
	done := make(chan answer, 1)
	go func() { done <- g.do("GET", fmt.Sprintf("/messages?sender=%d&wait=300", id), "") }()
	harness.Eventually(t, func() bool { return g.server.Readers() == 1 }, "it waits")
	began := time.Now()
	g.stop()
	assert.Less(t, time.Since(began), 5*time.Second)
	assert.Equal(t, `{"messages":[]}`+"\n", (<-done).body)
}

func TestAClientThatGoesTakesNothing(t *testing.T) {
	t.Parallel()
	g := start(t)
	id, _ := g.register()
	require.Equal(t, 200, g.post("/channels/join", obj{"sender": id, "channels": []int{5}}).status)
	ctx, goes := context.WithCancel(context.Background())
	req, err := nethttp.NewRequestWithContext(ctx, "GET", fmt.Sprintf("%s/messages?sender=%d&wait=60", g.url, id), nil)
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() {
		_, err := g.client.Do(req)
		done <- err
	}()
	harness.Eventually(t, func() bool { return g.server.Readers() == 1 }, "it waits")
	goes()
	require.Error(t, <-done)
	harness.Eventually(t, func() bool { return g.server.Readers() == 0 }, "it is gone")
	g.say(id, "kept", 5)
	assert.Equal(t, []string{"kept"}, g.poll(id, 5))
}
