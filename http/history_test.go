package http_test

import (
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
	"watchtower/internal/harness"
)

// say broadcasts on channels and returns the message's id.
func (g *gateway) say(sender uint32, message any, channels ...int) string {
	g.t.Helper()
	a := g.post("/broadcast", obj{"sender": sender, "channels": channels, "message": message})
	require.Equal(g.t, 200, a.status, a.body)
	return a.json(g.t)["id"].(string)
}

// settled reads a stream until a message comes: then the history has it too.
func (f *follower) settled(message any) {
	f.t.Helper()
	for f.next()["message"] != message {
	}
}

// missed follows with since, and returns the messages before a last one.
func (g *gateway) missed(sender uint32, since string, channels ...int) (all []string) {
	g.t.Helper()
	list := strings.Trim(strings.ReplaceAll(fmt.Sprint(channels), " ", ","), "[]")
	f := g.follow(fmt.Sprintf("channels=%s&sender=%d&linger=false&since=%s", list, sender, since))
	defer f.close()
	g.say(sender, "the end", channels[0])
	for {
		m := f.next()
		switch {
		case m["message"] == "the end" && m["channel"] == float64(channels[0]):
			return all
		case m["type"] == "gap":
			all = append(all, fmt.Sprint("gap ", m["channel"]))
		default:
			all = append(all, fmt.Sprint(m["message"]))
		}
	}
}

func TestSince(t *testing.T) {
	t.Parallel()
	c := &clock{}
	g := start(t, func(b *bridge.Options, o *options) {
		o.Clock, b.Now = c.now, c.now
		o.History.Messages, o.History.Bytes = 3, 1<<20
	})
	id, _ := g.register()
	other, _ := g.register()
	f := g.follow(fmt.Sprintf("channels=5,6&sender=%d", id)) // a member, so that it may speak
	defer f.close()
	first := g.say(id, "1", 5)
	c.ns.Add(int64(time.Minute))
	both := g.say(id, "2", 5, 6)
	c.ns.Add(int64(time.Minute))
	g.say(id, "3", 6)
	f.settled("3")

	assert.Equal(t, []string{"1", "2", "2", "3"}, g.missed(id, "all", 5, 6), "in the order in which it was said")
	assert.Equal(t, []string{"2"}, g.missed(id, first, 5))
	assert.Equal(t, []string{"3"}, g.missed(id, both, 6, 5)[:1], "nothing doubled where it was on both")
	assert.Equal(t, []string{"gap 6"}, g.missed(id, "01ARZ3NDEKTSV4RRFFQ69G5FAV", 6)[:1], "an id that is not known")
	assert.Equal(t, []string{"gap 7"}, g.missed(id, "10m", 7), "the gateway did not run then")
	c.ns.Add(int64(50 * time.Minute))
	assert.Empty(t, g.missed(other, "10m", 9))
	c.ns.Add(int64(20 * time.Minute))
	assert.Empty(t, g.missed(other, "all", 9), "older than an hour")

	for i := range 5 {
		g.say(id, fmt.Sprint("x", i), 6)
	}
	f.settled("x4")
	assert.Equal(t, []string{"x2", "x3", "x4"}, g.missed(id, "all", 6), "the last three")
	assert.Equal(t, "gap 6", g.missed(id, first, 6)[0], "said on another channel")
	for _, since := range []string{"", "-1m", "0s", "yesterday", "01ARZ3", "00000000000000000000000000"} {
		problem(t, g.do("GET", fmt.Sprintf("/channels/join?channels=5&sender=%d&since=%s", id, since), ""), 400, "invalid-field", "since")
	}
}

func TestAGapIsWhereMoreWasSaid(t *testing.T) {
	t.Parallel()
	g := start(t, func(_ *bridge.Options, o *options) {
		o.History.Messages, o.History.Bytes = 3, 1<<20
	})
	id, _ := g.register()
	f := g.follow(fmt.Sprintf("channels=5,6&sender=%d", id))
	defer f.close()
	var said []string
	for i := range 6 {
		said = append(said, g.say(id, i, 5))
	}
	f.settled(5.0)
	assert.Equal(t, []string{"gap 5", "3", "4", "5"}, g.missed(id, said[1], 5))
}

func TestTheLastThatIsNotKeptIsNoGap(t *testing.T) {
	t.Parallel()
	g := start(t, func(_ *bridge.Options, o *options) {
		o.History.Messages, o.History.Bytes = 3, 1<<20
	})
	id, _ := g.register()
	f := g.follow(fmt.Sprintf("channels=5,6&sender=%d", id))
	defer f.close()
	var said []string
	for i := range 6 {
		said = append(said, g.say(id, i, 5))
	}
	f.settled(5.0)
	assert.Equal(t, []string{"3", "4", "5"}, g.missed(id, said[2], 5))
}

func TestHistoryIsBoundedInBytes(t *testing.T) {
	t.Parallel()
	g := start(t, func(_ *bridge.Options, o *options) {
		o.History.Messages, o.History.Bytes = 100, 10_000
	})
	id, _ := g.register()
	f := g.follow(fmt.Sprintf("channels=5,6&sender=%d", id))
	defer f.close()
	for range 5 {
		g.say(id, strings.Repeat("x", 3000), 5)
	}
	g.say(id, "small", 6)
	f.settled("small")
	assert.Len(t, g.missed(id, "all", 5), 2)
	assert.Equal(t, []string{"small"}, g.missed(id, "all", 6))
}

func TestReplayIsPrivate(t *testing.T) {
	t.Parallel()
	g := start(t)
	a, _ := g.register()
	b, _ := g.register()
	for _, id := range []uint32{a, b} {
		defer g.follow(fmt.Sprintf("channels=5&sender=%d", id)).close()
	}
	a1 := g.post("/send", obj{"sender": a, "channels": []int{5}, "receivers": []uint32{b}, "message": "psst"})
	require.Equal(t, 200, a1.status)
	g.say(a, "all", 5)
	assert.Equal(t, []string{"psst", "all"}, g.missed(b, "all", 5))
	assert.Equal(t, []string{"all"}, g.missed(a, "all", 5))
	f := g.follow(fmt.Sprintf("channels=5&sender=%d&echo=false&since=all", a))
	defer f.close()
	g.say(b, "heard", 5)
	for {
		m := f.next()
		assert.EqualValues(t, b, m["sender"], "its own broadcasts are not for it")
		if m["message"] == "heard" {
			break
		}
	}
}

// Under load, with many reconnects, no message is lost, repeated or out of order between
// replay and live.
func TestReplayUnderLoad(t *testing.T) {
	t.Parallel()
	g := start(t, func(_ *bridge.Options, o *options) {
		o.History.Messages, o.History.Bytes = 5000, 64<<20
		o.StreamQueue = 10_000
	})
	id, _ := g.register()
	defer g.follow(fmt.Sprintf("channels=5,6&sender=%d", id)).close()
	const said = 1000
	var speaking sync.WaitGroup
	defer speaking.Wait()
	speaking.Go(func() {
		for i := range said {
			g.say(id, i, 5+i%2)
		}
	})
	cursor, next, connections := "all", 0, 0
	for next < said {
		f := g.follow(fmt.Sprintf("channels=5,6&sender=%d&since=%s", id, cursor))
		connections++
		for range 1 + connections%37 {
			m := f.next()
			require.EqualValues(t, next, m["message"])
			next++
			cursor = m["id"].(string)
			if next == said {
				break
			}
		}
		f.close()
	}
	assert.Greater(t, connections, 50)
}

func TestEvents(t *testing.T) {
	t.Parallel()
	g := start(t, func(_ *bridge.Options, o *options) { o.Heartbeat = 50 * time.Millisecond })
	id, _ := g.register()
	f := g.follow(fmt.Sprintf("channels=5&sender=%d", id), "Accept", "text/event-stream")
	assert.Equal(t, "text/event-stream", f.resp.Header.Get("Content-Type"))
	assert.Equal(t, ":", f.line(), "a comment at once")
	assert.Empty(t, f.line())
	said := g.say(id, "one\ntwo", 5)
	event := func() (id, data string) {
		t.Helper()
		for line := f.line(); ; line = f.line() {
			if rest, ok := strings.CutPrefix(line, "id: "); ok {
				id = rest
			}
			if rest, ok := strings.CutPrefix(line, "data: "); ok {
				assert.Empty(t, f.line())
				return id, rest
			}
		}
	}
	at, data := event()
	assert.Equal(t, said, at)
	m := answer{body: data}.json(t)
	assert.Equal(t, "one\ntwo", m["message"])
	assert.Equal(t, said, m["id"])
	f.close()

	g.say(id, "missed", 5)
	f = g.follow(fmt.Sprintf("channels=5&sender=%d&since=1ns", id), "Accept", "text/event-stream", "Last-Event-ID", said)
	_, data = event()
	assert.Equal(t, "missed", answer{body: data}.json(t)["message"], "what EventSource says counts, not the URL that it repeats")
	f.close()
	f = g.follow(fmt.Sprintf("channels=5&sender=%d&linger=false", id), "Accept", "text/event-stream", "Last-Event-ID", "01ARZ3NDEKTSV4RRFFQ69G5FAV")
	at, data = event()
	assert.Empty(t, at, "a gap is no place to come back to")
	assert.Equal(t, `{"type":"gap","channel":5}`, data)
	f.close()
	for accept, want := range map[string]string{
		"": "application/x-ndjson", "*/*": "application/x-ndjson", "application/x-ndjson, text/event-stream": "application/x-ndjson",
		"text/event-stream, */*;q=0.1": "text/event-stream", "text/*": "text/event-stream", "text/html": "application/x-ndjson",
	} {
		f := g.follow(fmt.Sprintf("channels=5&sender=%d", id), "Accept", accept)
		assert.Equal(t, want, f.resp.Header.Get("Content-Type"), accept)
		f.close()
	}
}

// Every event library can reconnect, whatever it does with ids and URLs: a foreign id is
// answered with a gap, and a foreign parameter is ignored.
func TestEveryLibraryOfEventsComesBack(t *testing.T) {
	t.Parallel()
	g := start(t)
	id, token := g.register()
	g.follow(fmt.Sprintf("channels=5&sender=%d", id))
	said, missed := g.say(id, "heard", 5), g.say(id, "missed", 5)
	harness.Eventually(t, g.idle, "all is in the history")
	gap := `data: {"type":"gap","channel":5}`
	comeBack := func(query string, headers ...string) string {
		f := g.follow(fmt.Sprintf("channels=5&sender=%d%s", id, query), append(headers, "Accept", "text/event-stream")...)
		defer f.close()
		g.say(id, "end", 5)
		for {
			switch line := f.line(); {
			case line == gap:
				return "gap"
			case strings.Contains(line, `"message":"missed"`):
				return "missed"
			case strings.Contains(line, `"message":"end"`):
				return "new"
			}
		}
	}
	for last, want := range map[string]string{
		"": "new", said: "missed", `"` + said + `"`: "missed", missed: "new", "17": "gap", "null": "gap", "all": "gap", "10m": "gap",
		"00000000000000000000000000": "gap", "-": "gap", "\xff": "gap", strings.Repeat("9", 300): "gap", "1-2": "gap",
	} {
		assert.Equal(t, want, comeBack("", "Last-Event-ID", last), "Last-Event-ID: %s", last)
		assert.Equal(t, want, comeBack("&lastEventId="+url.QueryEscape(last)), "lastEventId=%s", last)
	}
	assert.Equal(t, "new", comeBack("&_=1764345600000&r=0.1&since=1ns&linger=false"))
	for _, path := range []string{
		"/channels?sender=%d&_=1", "/channels/5/members?sender=%d&_=1", "/callbacks?sender=%d&cachebuster", "/me?sender=%d&_=1", "/healthz?_=%d", "/readyz?_=%d", "/metrics?_=%d", "/openapi.yaml?_=%d",
	} {
		path = fmt.Sprintf(path, id)
		assert.Equal(t, 200, g.do("GET", path, "", "Authorization", "Bearer "+token).status, path)
	}
}

// A stream of events that is cut before its first message misses nothing: it got the id
// where it began.
func TestAStreamIsCutBeforeItsFirstMessage(t *testing.T) {
	t.Parallel()
	senders := &memory{}
	with := func(b *bridge.Options, _ *options) { b.Store = senders }
	g := start(t, with)
	id, _ := g.register()
	query := fmt.Sprintf("channels=5&sender=%d", id)
	open := func(headers ...string) (f *follower, place string) {
		f = g.follow(query, append(headers, "Accept", "text/event-stream")...)
		for {
			line := f.line()
			require.NotContains(t, line, "gap")
			if rest, ok := strings.CutPrefix(line, "id: "); ok {
				return f, rest
			}
		}
	}
	f, place := open()
	f.close()
	g.say(id, "missed", 5)
	harness.Eventually(t, g.idle, "it is in the history")
	f, said := open("Last-Event-ID", place)
	assert.Len(t, said, 26, "the message")
	assert.Contains(t, f.line(), `"message":"missed"`)
	for !strings.HasPrefix(f.line(), "id: ") { // its place
	}
	f.close()
	f, again := open("Last-Event-ID", said)
	assert.NotEqual(t, place, again)
	f.close()
	g.stop()

	g = start(t, with)
	f = g.follow(query, "Accept", "text/event-stream", "Last-Event-ID", again)
	for line := ""; !strings.HasPrefix(line, "data: "); {
		line = f.line()
		if strings.HasPrefix(line, "data: ") {
			assert.Equal(t, `data: {"type":"gap","channel":5}`, line, "after a restart nobody knows")
		}
	}
}

// A message id of another channel selects the messages published after it, at every kind
// of join.
func TestSinceAMessageOfAnotherChannel(t *testing.T) {
	t.Parallel()
	g := start(t)
	id, _ := g.register()
	require.Equal(t, 200, g.post("/channels/join", obj{"sender": id, "channels": []int{5, 6}}).status)
	g.say(id, "before", 6)
	at := g.say(id, "elsewhere", 5)
	g.say(id, "after", 6)
	harness.Eventually(t, g.idle, "all is in the history")
	other, _ := g.register()
	require.Equal(t, 200, g.post("/channels/join", obj{"sender": other, "channels": []int{6}, "since": at}).status)
	a := g.do("GET", fmt.Sprintf("/messages?sender=%d", other), "")
	require.Equal(t, 200, a.status, a.body)
	assert.Contains(t, a.body, `"after"`)
	assert.NotContains(t, a.body, `"before"`)
	assert.NotContains(t, a.body, `"gap"`)
	assert.Equal(t, "after", g.follow(fmt.Sprintf("channels=6&sender=%d&since=%s", other, at)).next()["message"])
	r := receive(t, nil)
	require.Equal(t, 200, g.post("/channels/join/async", obj{"sender": other, "channels": []int{6}, "callback_url": r.URL, "since": at}).status)
	assert.Equal(t, "after", r.next(t).json(t)["message"])
}

// Without a history, members still get new messages.
func TestWithoutAHistory(t *testing.T) {
	t.Parallel()
	g := start(t, func(_ *bridge.Options, o *options) { o.History.Messages = 0 })
	r := receive(t, nil)
	id, _ := g.register()
	f := g.follow(fmt.Sprintf("channels=5&sender=%d", id))
	g.join(id, r.URL, 6)
	g.say(id, "to the stream", 5)
	g.say(id, "to the callback", 6)
	assert.Equal(t, "to the stream", f.next()["message"])
	assert.Equal(t, "to the callback", r.next(t).json(t)["message"])
}
