package gateway_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// looker is a page on /operator/live.
type looker struct {
	t     testing.TB
	conn  *websocket.Conn
	lines []map[string]any // that came and were not asked for
	most  int              // lines that came in one frame
}

func (r *running) look(token string) *looker {
	r.t.Helper()
	l := r.connect()
	l.ask(fmt.Sprintf(`{"token":%q}`, token))
	return l
}

func (r *running) connect() *looker {
	r.t.Helper()
	conn, _, err := websocket.DefaultDialer.Dial("ws://"+r.g.Listening().At("http")+"/operator/live", nil)
	require.NoError(r.t, err)
	r.t.Cleanup(func() { conn.Close() })
	return &looker{t: r.t, conn: conn}
}

func (l *looker) ask(text string) {
	l.t.Helper()
	require.NoError(l.t, l.conn.WriteMessage(websocket.TextMessage, []byte(text)))
}

// next is the next line of a type. Lines of others stay.
func (l *looker) next(kind string) map[string]any {
	l.t.Helper()
	for at := 0; ; at++ {
		for at == len(l.lines) {
			require.NoError(l.t, l.conn.SetReadDeadline(time.Now().Add(patient)))
			_, b, err := l.conn.ReadMessage()
			require.NoError(l.t, err)
			all := strings.Split(string(b), "\n")
			l.most = max(l.most, len(all))
			for _, text := range all {
				var line map[string]any
				require.NoError(l.t, json.Unmarshal([]byte(text), &line), text)
				l.lines = append(l.lines, line)
			}
		}
		if line := l.lines[at]; line["type"] == kind {
			l.lines = slices.Delete(l.lines, at, at+1)
			return line
		}
		require.Less(l.t, at, 10_000, "no %s comes", kind)
	}
}

// ends returns the code with which the gateway closes the socket.
func (l *looker) ends() int {
	l.t.Helper()
	for {
		require.NoError(l.t, l.conn.SetReadDeadline(time.Now().Add(patient)))
		if _, _, err := l.conn.ReadMessage(); err != nil {
			var closed *websocket.CloseError
			require.ErrorAs(l.t, err, &closed)
			return closed.Code
		}
	}
}

func TestLookingIsNotJoining(t *testing.T) {
	t.Parallel()
	r := startWith(t, office(t))
	lamp := r.register("lamp")
	heard := make(chan string, 100)
	r.follow(fmt.Sprintf("channels=5&sender=%d", lamp.ID), func(b []byte) { heard <- string(b) })
	broadcast := func(text string) {
		r.post("/broadcast", fmt.Sprintf(`{"sender":%d,"channels":[5],"message":%q}`, lamp.ID, text), nil)
	}
	broadcast("before")
	page := r.look(r.signIn(`{"user":"uspeak","password":"passspeak"}`))
	page.ask(`{"listen":5,"since":"10m"}`)
	assert.Equal(t, "before", page.next("broadcast")["message"])
	page.next("listening")
	broadcast("now")
	assert.Equal(t, "now", page.next("broadcast")["message"])
	members := func() string {
		_, answer := r.operate(r.asAdmin(), "GET /operator/channels/5/members", "")
		return answer
	}
	assert.Contains(t, members(), `"count":1,`)
	_, list := r.operate(r.asAdmin(), "GET /operator/channels", "")
	assert.Contains(t, list, `"seconds":[]`, "a list, though nobody has looked yet")
	_, n := r.g.Hub().Directory().Counts()
	assert.Equal(t, 1, n, "nobody is registered because somebody looks")

	page.ask(`{"say":{"channel":5,"message":{"light":"on"}},"ref":7}`)
	said := page.next("said")
	assert.EqualValues(t, 7, said["ref"])
	assert.Equal(t, map[string]any{"http": 1.0}, said["offered"], "the page is no receiver")
	for text := ""; !strings.Contains(text, "light"); {
		text = <-heard
		if strings.Contains(text, "light") {
			assert.Contains(t, text, `"name":"console.uspeak"`)
		}
	}
	assert.Contains(t, members(), `"count":1,`, "speaking is not joining either")

	r.post("/send", fmt.Sprintf(`{"sender":%d,"channels":[5],"receivers":["console.uspeak"],"message":"done"}`, lamp.ID), nil)
	assert.Equal(t, "done", page.next("send")["message"], "a device answers")

	page.ask(`{"unlisten":5}`)
	page.ask(`{"listen":0}`)
	assert.Equal(t, "urn:watchtower:problem:invalid-field", page.next("refused")["problem"].(map[string]any)["type"])
	broadcast("unheard")
	page.ask(`{"listen":5}`)
	page.next("listening")
	broadcast("heard")
	for text := any(nil); text != "heard"; {
		text = page.next("broadcast")["message"]
		assert.NotEqual(t, "unheard", text)
	}
}

func TestAPageIsToldOfMuchInFewFrames(t *testing.T) {
	t.Parallel()
	r := startWith(t, office(t))
	lamp := r.register("lamp")
	r.follow(fmt.Sprintf("channels=5&sender=%d", lamp.ID), func([]byte) {})
	page := r.look(r.asAdmin())
	page.ask(`{"listen":5,"most":1}`)
	page.ask(`{"follow":"rates"}`)
	page.ask(`{"follow":"channels"}`)
	page.next("listening")
	for i := range 200 {
		r.post("/broadcast", fmt.Sprintf(`{"sender":%d,"channels":[5],"message":%d}`, lamp.ID, i), nil)
	}
	channels := page.next("channels")["channels"].([]any)
	assert.EqualValues(t, 5, channels[0].(map[string]any)["channel"])
	rates := page.next("rates")
	assert.Contains(t, rates["in"], "http")
	assert.Positive(t, page.next("skipped")["n"])
	assert.Greater(t, page.most, 1, "lines that wait go out together")

	var answer struct {
		In    map[string][]int
		Drops []struct{ Via, Reason string }
	}
	status, text := r.operate(r.asAdmin(), "GET /operator/rates?span=1h", "")
	require.Equal(t, 200, status)
	require.NoError(t, json.Unmarshal([]byte(text), &answer))
	sum := 0
	for _, n := range answer.In["http"] {
		sum += n
	}
	assert.GreaterOrEqual(t, sum, 1)
}

func TestWhoMayLookOn(t *testing.T) {
	t.Parallel()
	r := startWith(t, office(t))
	assert.Equal(t, 4401, r.look("wtc_wrong").ends())
	assert.Equal(t, 4401, r.look(r.register("lamp").Token).ends(), "a device is no operator")
	assert.Equal(t, 4408, r.connect().ends(), "a first frame that is late says nothing of a session")

	look := r.look(r.signIn(`{"user":"ulook","password":"passlook"}`))
	look.ask(`{"say":{"channel":5,"message":"hello"},"ref":"a"}`)
	refused := look.next("refused")
	assert.Equal(t, "a", refused["ref"])
	assert.Equal(t, "urn:watchtower:problem:role", refused["problem"].(map[string]any)["type"])

	token := r.asAdmin()
	page := r.look(token)
	page.ask(`{"listen":5}`)
	page.next("listening")
	page.ask(`no JSON`)
	assert.Equal(t, websocket.CloseUnsupportedData, page.ends())

	page = r.look(token)
	page.ask(`{"listen":5}`)
	page.next("listening")
	go r.stop()
	assert.Equal(t, websocket.CloseGoingAway, page.ends())
	r.stop()
}
