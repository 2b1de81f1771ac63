package gateway_test

import (
	"encoding/json"
	"fmt"
	"io"
	nethttp "net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
	"watchtower/callback"
)

// shownCallback is a callback as GET /operator/callbacks shows it.
type shownCallback struct {
	Key, Name, URL, State, Reason string
	Sender                        uint32
	Channels                      []uint32
	Waiting                       int
	GivenUp                       int        `json:"given_up"`
	OffSince                      *time.Time `json:"off_since"`
	FailingSince                  *time.Time `json:"failing_since"`
	LastTaken                     *time.Time `json:"last_delivered_at"`
	LastError                     *struct{ Detail string }
}

func (r *running) callbacks(token, query string) (list []shownCallback, next string) {
	r.t.Helper()
	status, answer := r.operate(token, "GET /operator/callbacks"+query, "")
	require.Equal(r.t, 200, status, answer)
	var got struct {
		Callbacks []shownCallback
		Next      string
	}
	require.NoError(r.t, json.Unmarshal([]byte(answer), &got))
	return got.Callbacks, got.Next
}

// posted is a receiver of callbacks: the messages that it was given, and what it answers.
type posted struct {
	*httptest.Server
	got    chan string
	answer atomic.Int32
}

func newPosted(t *testing.T) *posted {
	p := &posted{got: make(chan string, 1000)}
	p.answer.Store(200)
	p.Server = httptest.NewServer(nethttp.HandlerFunc(func(w nethttp.ResponseWriter, req *nethttp.Request) {
		b, _ := io.ReadAll(req.Body)
		var m struct{ Message string }
		_ = json.Unmarshal(b, &m)
		status := int(p.answer.Load())
		if status == 200 {
			p.got <- m.Message
		}
		w.WriteHeader(status)
	}))
	t.Cleanup(func() { p.CloseClientConnections(); p.Close() })
	return p
}

// joinBy joins channel 5 by a callback as a named sender, and returns its id.
func (r *running) joinBy(name, url string) uint32 {
	reg := r.register(name)
	r.post("/channels/join/async", fmt.Sprintf(`{"sender":%d,"channels":[5],"callback_url":%q}`, reg.ID, url), nil)
	return reg.ID
}

func TestOperatorsSeeTheCallbacksOfAllSenders(t *testing.T) {
	t.Parallel()
	cfg := office(t)
	cfg.Callbacks.Retries = 0
	p := newPosted(t)
	r := startWith(t, cfg)
	admin, look := r.asAdmin(), r.signIn(`{"user":"ulook","password":"passlook"}`)
	none, _ := r.callbacks(look, "")
	assert.Empty(t, none)
	page := r.look(look)
	page.ask(`{"follow":"callbacks"}`)
	ids := map[uint32]string{}
	for _, name := range []string{"a", "b", "c"} {
		ids[r.joinBy(name, p.URL+"/path?secret="+name)] = name
	}
	assert.Equal(t, true, page.next("callbacks")["changed"])
	all, next := r.callbacks(admin, "")
	assert.Empty(t, next)
	require.Len(t, all, 3)
	for i, c := range all {
		assert.Equal(t, ids[c.Sender], c.Name)
		assert.Equal(t, p.URL+"/path?secret="+c.Name, c.URL)
		assert.Equal(t, []uint32{5}, c.Channels)
		assert.Equal(t, "ok", c.State)
		assert.True(t, i == 0 || all[i-1].Sender < c.Sender, "by their senders")
	}
	var seen []string
	for from := ""; ; {
		some, next := r.callbacks(look, "?limit=1&from="+from)
		require.Len(t, some, 1)
		assert.Equal(t, p.URL+"/…", some[0].URL, "who may not manage sees the host")
		seen = append(seen, some[0].Key)
		if from = next; next == "" {
			break
		}
	}
	assert.Equal(t, []string{all[0].Key, all[1].Key, all[2].Key}, seen)

	p.answer.Store(500)
	r.say(all[0].Sender, "lost")
	page.next("callbacks")
	eventually(t, "it is given up", func() bool {
		failing, _ := r.callbacks(look, "?state=failing")
		return len(failing) == 3 && failing[0].GivenUp+failing[1].GivenUp+failing[2].GivenUp == 3
	})
	failing, _ := r.callbacks(look, "?state=failing")
	assert.NotNil(t, failing[0].FailingSince)
	good, _ := r.callbacks(look, "?state=ok")
	assert.Empty(t, good)
	p.answer.Store(200)
	at := "POST /operator/callbacks/" + all[0].Key
	status, answer := r.operate(admin, at+"/replay", "{}")
	require.Equal(t, 200, status, answer)
	assert.JSONEq(t, `{"replayed":1}`, answer)
	assert.Equal(t, "lost", <-p.got)

	status, answer = r.operate(admin, at+"/rotate", "")
	require.Equal(t, 200, status, answer)
	assert.Regexp(t, `^{"secret":"whsec_.+"}`, answer)
	assert.Contains(t, r.log.String(), "operator rotated a callback's secret")
	assert.NotContains(t, r.log.String(), "whsec_")
	assert.NotContains(t, r.log.String(), "secret=")
	for status == 200 { // as often as secrets may be in force together
		status, answer = r.operate(admin, at+"/rotate", "")
	}
	assert.Equal(t, 429, status, answer)
	assert.Equal(t, "too-many-requests", problemType(answer))
}

// While a callback is off nothing is posted, and messages wait, over a restart too. On
// again, it gets them in their order.
func TestACallbackIsSwitchedOffAndOn(t *testing.T) {
	t.Parallel()
	cfg := office(t)
	cfg.Callbacks.Queue = 5
	p := newPosted(t)
	r := startWith(t, cfg)
	admin := r.asAdmin()
	id := r.joinBy("kitchen", p.URL)
	r.say(id, "before")
	assert.Equal(t, "before", <-p.got)
	one := func() shownCallback {
		all, _ := r.callbacks(admin, "")
		require.Len(t, all, 1)
		return all[0]
	}
	key := one().Key
	turn := func(to string, want int) string {
		t.Helper()
		status, answer := r.operate(admin, "POST /operator/callbacks/"+key+"/"+to, "")
		require.Equal(t, want, status, answer)
		return answer
	}
	turn("off", 204)
	turn("off", 204)
	for i := range 7 {
		r.say(id, fmt.Sprint(i))
	}
	eventually(t, "they wait, up to the bound", func() bool { return one().Waiting == 5 })
	assert.Equal(t, "off", one().State)
	assert.NotNil(t, one().OffSince)
	eventually(t, "the others are counted", func() bool { return r.dropped(callback.Protocol, bridge.QueueFull) == 2 })
	_, members := r.operate(admin, "GET /operator/channels/5/members", "")
	assert.Contains(t, members, `"name":"kitchen"`, "it stays a member")
	r.joinBy("kitchen", p.URL)
	assert.Equal(t, "off", one().State, "its program joins again as at each start: that does not undo what an operator did")
	_, own := r.call("GET", fmt.Sprintf("/callbacks?sender=%d", id), "", "")
	assert.Contains(t, own, `"state":"off"`)

	r.stop()
	assert.Empty(t, p.got)
	r = startWith(t, cfg)
	admin = r.asAdmin()
	assert.Equal(t, key, one().Key, "keys stay")
	assert.Equal(t, "off", one().State)
	assert.Equal(t, 5, one().Waiting)
	assert.Empty(t, p.got)
	turn("on", 204)
	for i := range 5 {
		assert.Equal(t, fmt.Sprint(i), <-p.got)
	}
	eventually(t, "it is on", func() bool { return one().State == "ok" && one().Waiting == 0 })
	turn("on", 204)
	r.say(id, "after")
	assert.Equal(t, "after", <-p.got)

	// A delivery that is tried again waits, too, and is not tried while it is off.
	p.answer.Store(503)
	r.say(id, "tried")
	eventually(t, "it fails", func() bool { return one().State == "failing" })
	turn("off", 204)
	p.answer.Store(200)
	assert.Equal(t, 1, one().Waiting)
	turn("on", 204)
	assert.Equal(t, "tried", <-p.got)

	p.answer.Store(410)
	r.say(id, "gone")
	eventually(t, "it is disabled", func() bool { return one().State == "disabled" })
	for _, to := range []string{"on", "off"} {
		answer := turn(to, 409)
		assert.Equal(t, "callback-disabled", problemType(answer))
		assert.Contains(t, answer, "join again")
	}
	assert.Equal(t, "invalid-callback-url", problemType(turn("replay", 409)))
	assert.Equal(t, 1, strings.Count(r.log.String(), "operator switched a callback off"))
}
