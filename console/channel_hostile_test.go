package console_test

import (
	"context"
	"encoding/json"
	"fmt"
	nethttp "net/http"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/debugger"
	"github.com/chromedp/chromedp"
	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/config"
)

// speaker is a device that speaks over a WebSocket, which is quick.
type speaker struct {
	t    testing.TB
	conn *websocket.Conn
}

func (r *running) speaker(name string, channel int) *speaker {
	r.Helper()
	header := nethttp.Header{"Authorization": {"Bearer " + r.device(name)}}
	conn, _, err := websocket.DefaultDialer.Dial(fmt.Sprintf("ws://%s/channels/join?channels=%d&echo=false", r.cfg.HTTP.Listen, channel), header)
	require.NoError(r, err)
	r.Cleanup(func() { conn.Close() })
	return &speaker{t: r.TB, conn: conn}
}

func (s *speaker) says(channel int, message any) {
	b, err := json.Marshal(map[string]any{"type": "broadcast", "channels": []int{channel}, "message": message})
	assert.NoError(s.t, err)
	assert.NoError(s.t, s.conn.WriteMessage(websocket.TextMessage, b))
}

// ask sends the browser a command about the page.
func ask[P, R any](p *page, command cdp.Command[P, R], params P) (answer R) {
	p.Helper()
	require.NoError(p, chromedp.Do(p.ctx, chromedp.Func(func(ctx context.Context, t *chromedp.Target) (err error) {
		answer, err = cdp.Call(ctx, t, command, params)
		return err
	})))
	return answer
}

// A page that stands still while more is said than waits for it is told so, comes back, and
// shows that something is missing.
func TestAPageThatReadsTooSlowly(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *config.Config) { c.HTTP.WriteTimeout = time.Minute })
	s := r.speaker("machine", 5)
	p := r.as("lou", "channels/5")
	s.says(5, "before")
	p.reads("before")
	p.do(`window.banners = "", new MutationObserver(() => { banners += document.querySelector(".banner")?.textContent ?? "" }).observe(document.getElementById("main"), { childList: true })`)
	ask(p, debugger.Enable, debugger.EnableParams{})
	paused := chromedp.Events(p.ctx, debugger.Paused)
	stands := make(chan error, 1)
	go func() {
		_, err := chromedp.Run(p.ctx, chromedp.Evaluate[any](`(() => { debugger })()`))
		stands <- err
	}()
	for _, err := range paused {
		require.NoError(t, err)
		break
	}
	large := strings.Repeat("large ", 10_000)
	for range 600 {
		s.says(5, large)
	}
	s.says(5, "after")
	ask(p, debugger.Resume, debugger.ResumeParams{})
	require.NoError(t, <-stands)
	p.waits(`banners.includes("Connection lost: it read too slowly")`)
	p.reads("after")
	p.fill(filter, "after")
	p.reads("Something was said here that is not kept any more")
	p.shows(p.rows()[0], "– Something was said here that is not kept any more", "machine: after")
	assert.Contains(t, p.rows()[0], "older messages were let go")
}

// What strangers say is text, whatever they say, and disturbs nothing around it.
func TestHostileMessages(t *testing.T) {
	t.Parallel()
	const hostile = `<img src=x onerror="document.title='run'">`
	r := start(t, func(c *config.Config) { c.Channels[6] = config.Channel{Name: "\u202e" + hostile} })
	evil := r.mqtt(hostile)
	say := func(text string) { r.done(evil.Publish("watchtower/channels/6/broadcast", 1, false, text)) }
	p := r.as("ann", "channels/6")
	shown := `document.querySelector(".details .value")?.textContent`

	say(hostile)
	p.reads(hostile)
	p.clicks(hostile)
	p.waits(shown + `.startsWith("<img")`)

	say("\u202eevil\x00\x1b[31m\r\nnext")
	p.waits(`document.querySelector(".row:last-child .said").textContent === "‹U+202E›evil␀␛[31m␍␊next"`)
	p.clicks("evil")
	p.waits(shown + ` === "‹U+202E›evil␀␛[31m␍\nnext"`)

	say(`{"__proto__":{"x":1},"constructor":"\u202e","toString":[]}`)
	p.clicks("__proto__")
	p.waits(shown + `.includes("__proto__: 1 field")`)
	p.waits(shown + `.includes("x: 1")`)

	deep := strings.Repeat(`{"a":[`, 500) + strings.Repeat(`]}`, 500)
	say(deep)
	p.clicks(`{"a":[{"a":[`)
	p.waits(shown + `.includes("1 field")`)
	for range 20 { // it opens level by level
		p.waits(`(() => { const e = [...document.querySelectorAll(".details .value details:not([open])")].at(-1); e?.querySelector("summary").click(); return e })()`)
	}
	p.waits(`document.querySelectorAll(".details .value details[open]").length > 20`)

	say(strings.Repeat("long ", 12_800))
	p.clicks("long")
	p.press("All 64,000 characters")
	p.waits(shown + `.length >= 64000`)
	p.press("Hex")
	p.press("All 64 kB")
	p.waits(shown + `.includes("f9f8  ")`)

	p.goes("channels")
	p.reads("‹U+202E›")
	assert.Equal(t, 0, evaluate[int](p, `document.querySelectorAll("main img").length`))
	assert.NotEqual(t, "run", evaluate[string](p, `document.title`))
	assert.Nil(t, evaluate[any](p, `({}).x ?? null`), "no prototype is changed")
}
