package sdk_test

import (
	"fmt"
	nethttp "net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/config"
	"watchtower/internal/harness"
	"watchtower/internal/harness/browser"
)

// opener starts a program with an SDK. A page belongs to the origin at an address.
type opener func(t *testing.T, at string) *client

// scenarios are what both SDKs have to do.
var scenarios = map[string]func(*testing.T, opener){
	"everything that is said":     everythingIsSaid,
	"content":                     contentArrives,
	"refusals":                    refusals,
	"since":                       sinceBeginsEarlier,
	"a cut cable":                 aCutCable,
	"a cut before the first word": aCutBeforeTheFirstWord,
	"what is not kept any more":   notKeptAnyMore,
	"a gateway that is restarted": aRestart,
	"a short token":               aShortToken,
	"two who say the same":        twoSayTheSame,
	"leaving":                     leaving,
	"two joins":                   twoJoins,
	"an operator's hand":          madeToLeave,
	"a proxy's own answer":        anotherServer,
	"too many streams":            tooManyStreams,
	"many reconnects":             manyReconnects,
	"close":                       closeLeavesNothing,
}

func TestBothSDKs(t *testing.T) {
	chromium := browser.Open(t, "about:blank")
	clients := map[string]opener{
		"JavaScript": func(t *testing.T, at string) *client { return newPage(t, chromium, at) },
		"Python":     func(t *testing.T, _ string) *client { return newPython(t) },
	}
	for language, open := range clients {
		for name, run := range scenarios {
			t.Run(language+"/"+name, func(t *testing.T) {
				t.Parallel()
				run(t, open)
			})
		}
	}
	t.Run("JavaScript/a network that fails without a sign", func(t *testing.T) { testSilence(t, chromium) })
	t.Run("JavaScript/the first page", func(t *testing.T) { testFirstPage(t, chromium) })
	t.Run("JavaScript/a page at another address", func(t *testing.T) { testPageElsewhere(t, chromium) })
	t.Run("JavaScript/pages of other origins", func(t *testing.T) { testOtherOrigins(t, chromium) })
	t.Run("JavaScript/a proxy without Upgrade", func(t *testing.T) { testNoUpgrade(t, chromium) })
	t.Run("JavaScript/a mistake in the page", func(t *testing.T) { testAMistakeInThePage(t, chromium) })
}

func everythingIsSaid(t *testing.T, open opener) {
	h := start(t, nil)
	lamp, valve := open(t, h.at), open(t, h.at)
	lampID, valveID := lamp.connect(h.at, "lamp"), valve.connect(h.at, "valve1")
	assert.NotEqual(t, lampID, valveID)
	for _, c := range []*client{lamp, valve} {
		c.do("join", obj{"channels": []int{5, 7}})
		assert.Equal(t, []int{5, 7}, c.reaches("open", 1).Channels)
	}
	said := lamp.do("broadcast", obj{"channels": []int{5}, "message": "hello"})
	assert.Len(t, said["id"], 26)
	for _, c := range []*client{lamp, valve} {
		c.heard(1)
		m := c.of("message")[0]
		assert.Equal(t, event{Event: "message", ID: said["id"].(string), Kind: "broadcast", Channel: 5, Sender: lampID, Name: "lamp", Message: "hello", By: []uint32{}}, m)
	}
	report := lamp.do("send", obj{"channels": []int{7}, "receivers": []any{valveID, "lamp"}, "message": obj{"on": true}})
	assert.Equal(t, obj{"http": 2.0}, report["offered"])
	assert.Equal(t, obj{}, report["dropped"])
	assert.Len(t, report["id"], 26)
	lamp.heard(2)
	assert.Equal(t, []any{"hello", obj{"on": true}}, valve.heard(2))
	assert.Equal(t, "send", valve.of("message")[1].Kind)

	members := lamp.do("members", obj{"channel": 7})
	assert.EqualValues(t, 2, members["count"])
	assert.Contains(t, members["members"], obj{"id": float64(valveID), "name": "valve1", "via": "http"})

	again := open(t, h.at)
	assert.Equal(t, lampID, again.connect(h.at, "lamp"), "the same name is the same sender")
}

// On a channel that wants two, the first is told that he waits, and members that one has said it.
func twoSayTheSame(t *testing.T, open opener) {
	h := start(t, func(c *config.Config) {
		c.Channels = map[uint32]config.Channel{9: {Confirm: 2, Within: time.Minute, Unprotected: true}, 10: {Confirm: 2, Within: time.Second, Unprotected: true}}
	})
	ann, bob := open(t, h.at), open(t, h.at)
	annID, bobID := ann.connect(h.at, "ann"), bob.connect(h.at, "bob")
	for _, c := range []*client{ann, bob} {
		c.do("join", obj{"channels": []int{9, 10}})
	}
	said := ann.do("broadcast", obj{"channels": []int{9}, "message": "go"})
	assert.NotContains(t, said, "id")
	assert.EqualValues(t, 1, said["confirmed"])
	assert.EqualValues(t, 2, said["of"])
	bob.eventually(func() bool { return len(bob.of("confirm")) == 1 }, "a member is told")
	told := bob.of("confirm")[0]
	assert.Equal(t, event{Event: "confirm", Channel: 9, Confirmed: 1, Of: 2, Until: said["until"].(string)}, told)
	assert.Len(t, bob.do("broadcast", obj{"channels": []int{9}, "message": "go"})["id"], 26)
	assert.Equal(t, []any{"go"}, ann.heard(1))
	assert.Equal(t, []uint32{annID, bobID}, ann.of("message")[0].By)

	ann.do("broadcast", obj{"channels": []int{10}, "message": "stop"})
	bob.eventually(func() bool { return len(bob.of("confirm")) == 3 }, "it is forgotten")
	assert.Equal(t, event{Event: "confirm", Channel: 10, Of: 2, Reason: "expired"}, bob.of("confirm")[2])
}

// deep is JSON in a hundred lists.
func deep(levels int) (v any) {
	for range levels {
		v = []any{v}
	}
	return v
}

func contentArrives(t *testing.T, open opener) {
	h := start(t, nil)
	c := open(t, h.at)
	c.connect(h.at, "")
	c.do("join", obj{"channels": []int{5}})
	var want []any
	for _, content := range []any{
		"", "text", "ü \" \\ \n\t\x00 \u2028 𝄞 </script>", strings.Repeat("x", 64_000), strings.Repeat("\x01", 64_000),
		obj{"a": []any{1.5, nil, true, "b"}}, []any{}, 0.0, false, nil, deep(100),
		obj{"bytes": "/wD+"}, obj{"bytes": strings.Repeat("/wD+", 21_333)},
	} {
		c.do("broadcast", obj{"channels": []int{5}, "message": content, "ttl": 60})
		want = append(want, content)
	}
	c.do("broadcast", obj{"channels": []int{5}, "message": obj{"bytes": "aGk="}})
	want = append(want, "hi") // bytes that are UTF-8 arrive as text
	assert.Equal(t, want, c.heard(len(want)))

	p := c.refused("broadcast", obj{"channels": []int{5}, "message": strings.Repeat("x", 64_001)})
	assert.Equal(t, 413, p.Status)
	p = c.refused("broadcast", obj{"channels": []int{5}, "message": obj{"bytes": strings.Repeat("/wD+", 21_334)}})
	assert.Equal(t, 413, p.Status)
	report := c.do("send", obj{"channels": []int{5}, "receivers": []any{c.of("message")[0].Sender}, "message": obj{"bytes": "/w=="}})
	assert.Equal(t, obj{"http": 1.0}, report["offered"], "bytes to some")

	h.speaker().say(deep(5000)) // more than Python's parser holds: it is text there
	heard := c.heard(len(want) + 2)
	text, is := heard[len(want)+1].(string)
	if !is {
		text = encode(t, heard[len(want)+1])
	}
	assert.Equal(t, encode(t, deep(5000)), text)
}

func refusals(t *testing.T, open opener) {
	h := start(t, nil)
	c := open(t, h.at)
	p := c.refused("connect", obj{"url": "http://" + h.at, "key": "wrong"})
	assert.Equal(t, 401, p.Status)
	assert.Equal(t, "urn:watchtower:problem:invalid-secret-key", p.Type)
	assert.Equal(t, "secret_key", p.Field)
	assert.Contains(t, p.Detail, "shown at its first start")
	assert.Equal(t, 401, c.refused("connect", obj{"url": "http://" + h.at}).Status)
	assert.Equal(t, 401, c.refused("connect", obj{"url": "http://" + h.at, "token": "wt_wrong"}).Status)
	for _, name := range []string{`la"mp`, "lämp", "la mp"} {
		p = c.refused("connect", obj{"url": "http://" + h.at, "key": key, "name": name})
		assert.Equal(t, 400, p.Status)
		assert.Equal(t, "name", p.Field)
	}
	assert.NotEmpty(t, c.refused("connect", obj{"url": "nonsense:"}).Detail)

	c.connect(h.at, "")
	for op, args := range map[string]obj{
		"broadcast": {"channels": []int{6}, "message": "x"},
		"send":      {"channels": []int{6}, "receivers": []string{"nobody"}, "message": "x"},
		"members":   {"channel": 6},
		"join":      {"channels": []int{0}},
	} {
		assert.Equal(t, 400, c.refused(op, args).Status, op)
	}
	assert.Equal(t, 400, c.refused("join", obj{"channels": []int{5}, "since": "yesterday"}).Status)
	assert.Equal(t, "since", c.reaches("closed", 2).Error.Field)
	assert.Empty(t, c.of("message"))
}

func sinceBeginsEarlier(t *testing.T, open opener) {
	h := start(t, nil)
	s := h.speaker()
	first := s.say("message 0")
	want := append([]any{"message 0"}, s.count(1, 4)...)
	for since, from := range map[string]int{"all": 0, "10m": 0, first: 1} {
		c := open(t, h.at)
		c.connect(h.at, "")
		c.do("join", obj{"channels": []int{5}, "since": since})
		assert.Equal(t, want[from:], c.heard(4-from), since)
	}

	c := open(t, h.at)
	c.connect(h.at, "")
	c.do("join", obj{"channels": []int{5}})
	c.do("broadcast", obj{"channels": []int{5}, "message": "in time", "ttl": 1})
	c.heard(1)
	require.Eventually(t, func() bool { return h.kept() == 4 }, harness.Patience, 100*time.Millisecond, "it is gone after a second")
	assert.Equal(t, "ttl", c.refused("broadcast", obj{"channels": []int{5}, "message": "x", "ttl": 0}).Field)
}

func aShortToken(t *testing.T, open opener) {
	h := start(t, nil)
	reg := h.register("page")
	c := open(t, h.at)
	me := c.do("connect", obj{"url": "http://" + h.at, "token": h.shortToken(reg.Token, obj{"channels": []int{5}, "ttl": 8})})
	assert.Equal(t, obj{"id": float64(reg.ID), "name": "page"}, me)
	c.do("join", obj{"channels": []int{5}})
	p := c.refused("broadcast", obj{"channels": []int{5}, "message": "x"})
	assert.Equal(t, 403, p.Status, "it may only hear")
	assert.Equal(t, "scope", p.Field)
	assert.Equal(t, 403, c.refused("join", obj{"channels": []int{6}}).Status)
	assert.Equal(t, 403, c.refused("members", obj{"channel": 5}).Status)
	closed := c.reaches("closed", 2)
	assert.Equal(t, 401, closed.Error.Status)
	assert.Equal(t, "urn:watchtower:problem:token-expired", closed.Error.Type)
	assert.Equal(t, 401, c.refused("join", obj{"channels": []int{5}}).Status, "it has expired")
	assert.Empty(t, c.of("reconnecting"))

	c = open(t, h.at)
	c.do("connect", obj{"url": "http://" + h.at, "token": h.shortToken(reg.Token, obj{"scope": "hear+speak"})})
	c.do("join", obj{"channels": []int{5}})
	c.do("broadcast", obj{"channels": []int{5}, "message": "x"})
	c.heard(1)
	c.do("leave", obj{"channels": []int{5}})
	c = open(t, h.at)
	c.do("connect", obj{"url": "http://" + h.at, "token": reg.Token})
	c.do("join", obj{"channels": []int{5}})
}

func leaving(t *testing.T, open opener) {
	h := start(t, nil)
	cable := harness.NewCable(t, h.at)
	c := open(t, cable.Addr())
	c.connect(cable.Addr(), "")
	c.do("join", obj{"channels": []int{5, 6}})
	c.do("leave", obj{"channels": []int{5}})
	s := h.speaker()
	s.say("nobody hears it")
	s.post("/broadcast", obj{"channels": []int{6}, "message": "heard"})
	assert.Equal(t, []any{"heard"}, c.heard(1))
	cable.Cut()
	c.reaches("reconnecting", 1)
	cable.Mend()
	assert.Equal(t, []int{6}, c.reaches("open", 2).Channels, "it does not come back to what it left")
	assert.Equal(t, 400, c.refused("members", obj{"channel": 5}).Status)

	cable.Cut()
	c.reaches("reconnecting", 2)
	p := c.refused("leave", obj{"channels": []int{6}})
	assert.Equal(t, "network", p.Type)
	closed := c.reaches("closed", 1)
	assert.Equal(t, "left", closed.Error.Type, "also while it has no connection")
	assert.Equal(t, []int{6}, closed.Channels)
	cable.Mend()
	assert.NotEmpty(t, c.do("broadcast", obj{"channels": []int{6}, "message": "still a member for a while"})["id"])
	assert.Len(t, c.of("message"), 1)
}

func twoJoins(t *testing.T, open opener) {
	h := start(t, nil)
	c := open(t, h.at)
	c.connect(h.at, "")
	done := make(chan answer, 2)
	for _, channel := range []int{5, 6} {
		go func() { done <- c.ask("join", obj{"channels": []int{channel}, "echo": false}) }()
	}
	for range 2 {
		a := <-done
		assert.Nil(t, a.Error)
	}
	c.do("broadcast", obj{"channels": []int{5, 6}, "message": "own"})
	h.speaker().post("/broadcast", obj{"channels": []int{5, 6}, "message": "each once"})
	assert.Equal(t, []any{"each once", "each once"}, c.heard(2))
	c.do("leave", obj{"channels": []int{5, 6}})
	c.reaches("closed", 2)
	c.do("join", obj{"channels": []int{5}})
	c.reaches("open", 3)
}

// Someone else ends the membership: the SDK does not fight against it.
func madeToLeave(t *testing.T, open opener) {
	h := start(t, nil)
	cable := harness.NewCable(t, h.at)
	reg := h.register("lamp")
	c := open(t, cable.Addr())
	c.do("connect", obj{"url": "http://" + cable.Addr(), "token": reg.Token})
	c.do("join", obj{"channels": []int{5}})
	s := &speaker{h: h, id: reg.ID, token: reg.Token}
	s.post("/channels/leave", obj{"channels": []int{5}})
	assert.Equal(t, "left", c.reaches("closed", 1).Error.Type)

	c.do("join", obj{"channels": []int{5}})
	h.register("lamp") // ends the token
	cable.Mend()       // and this the connection
	assert.Equal(t, 401, c.reaches("closed", 2).Error.Status)
}

func anotherServer(t *testing.T, open opener) {
	h := start(t, nil)
	status := nethttp.StatusBadGateway
	proxy := httptest.NewServer(nethttp.HandlerFunc(func(w nethttp.ResponseWriter, r *nethttp.Request) {
		if r.URL.Path == "/watchtower.js" || r.URL.Path == "/watchtower.d.ts" {
			res, body := h.call("GET", r.URL.Path, "")
			w.Header().Set("Content-Type", res.Header.Get("Content-Type"))
			_, _ = w.Write([]byte(body))
			return
		}
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(status)
		fmt.Fprint(w, "<!doctype html><h1>This is a proxy</h1>")
	}))
	t.Cleanup(proxy.Close)
	at := strings.TrimPrefix(proxy.URL, "http://")
	c := open(t, at)
	for _, status = range []int{502, 404, 200} {
		p := c.refused("connect", obj{"url": proxy.URL, "key": key})
		assert.Equal(t, "no-gateway", p.Type)
		assert.Equal(t, status, p.Status)
		assert.Contains(t, p.Detail, "does the gateway run?")
	}
	p := c.refused("connect", obj{"url": "http://" + harness.FreeAddress(t), "key": key})
	assert.Equal(t, "network", p.Type)
}
