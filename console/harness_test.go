package console_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	nethttp "net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"
	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/bcrypt"

	"watchtower/config"
	"watchtower/gateway"
	"watchtower/internal/harness"
	"watchtower/internal/harness/browser"
)

const (
	secretKey = "correct horse battery"
	adminKey  = "the admin's own key"
	password  = "a user's password"
)

// One browser for all tests. Each page has a profile of its own in it.
var chromium = sync.OnceValues(func() (ctx context.Context, err error) {
	ctx, endChromium, err = browser.Start()
	return ctx, err
})

var endChromium func()

func TestMain(m *testing.M) {
	if configuration := os.Getenv(asGateway); configuration != "" {
		if err := beGateway(configuration); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	code := m.Run()
	if endChromium != nil {
		endChromium()
	}
	os.Exit(code)
}

// running is a gateway with its console.
type running struct {
	testing.TB
	cfg     config.Config
	options []gateway.Option
	g       *gateway.Gateway
	url     string // of the console
	stop    func()

	signIn sync.Once // for look
	token  string
}

// start runs a gateway until the test ends. ann manages, sid speaks, lou looks; all have the
// same password.
func start(t testing.TB, change ...func(*config.Config)) *running {
	t.Helper()
	cfg := config.Default()
	cfg.HTTP.Listen, cfg.UDP.Listen, cfg.TCP.Listen, cfg.MQTT.Listen = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	cfg.DataDir, cfg.SecretKey, cfg.AdminKey = t.TempDir(), secretKey, adminKey
	cfg.Callbacks.Allow = []string{"127.0.0.1"}
	cfg.Channels = map[uint32]config.Channel{5: {Name: "Watering"}}
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	require.NoError(t, err)
	cfg.Users = map[string]config.User{}
	for name, role := range map[string]string{"ann": "manage", "sid": "speak", "lou": "look"} {
		cfg.Users[name] = config.User{PasswordHash: string(hash), Role: role}
	}
	for _, f := range change {
		f(&cfg)
	}
	r := &running{TB: t, cfg: cfg}
	r.start()
	t.Cleanup(func() { r.stop() })
	return r
}

// start starts the gateway, or starts it again where it was. stop stops it.
func (r *running) start() {
	r.Helper()
	log := logrus.New()
	log.SetOutput(io.Discard)
	g, err := gateway.New(r.cfg, log, r.options...)
	require.NoError(r, err)
	require.NoError(r, g.Listen())
	r.g, r.cfg.HTTP.Listen = g, g.Listening().At("http")
	r.url = "http://" + r.cfg.HTTP.Listen + "/"
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- g.Serve(ctx) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		assert.NoError(r, <-done)
	})
}

// call makes a request, requires that it is answered with 2xx, and decodes the answer.
func (r *running) call(method, path, token string, body any) (answer map[string]any) {
	r.Helper()
	var b bytes.Buffer
	if body != nil {
		require.NoError(r, json.NewEncoder(&b).Encode(body))
	}
	q, err := nethttp.NewRequest(method, r.url+path, &b)
	require.NoError(r, err)
	q.Header.Set("Content-Type", "application/json")
	if token != "" {
		q.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := (&nethttp.Client{Transport: &nethttp.Transport{DisableKeepAlives: true}, Timeout: harness.Patience}).Do(q)
	require.NoError(r, err)
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	require.NoError(r, err)
	require.Less(r, res.StatusCode, 300, "%s %s: %s", method, path, text)
	_ = json.Unmarshal(text, &answer)
	return answer
}

// device registers a sender, makes it a member of channels by a mailbox, and returns its token.
func (r *running) device(name string, channels ...int) (token string) {
	r.Helper()
	token, _ = r.call("POST", "register", "", map[string]any{"secret_key": secretKey, "name": name})["token"].(string)
	if len(channels) > 0 {
		r.call("POST", "channels/join", token, map[string]any{"channels": channels})
	}
	return token
}

// says has a device say something on a channel.
func (r *running) says(token string, channel int, message any) {
	r.Helper()
	r.call("POST", "broadcast", token, map[string]any{"channels": []int{channel}, "message": message})
}

// page is a page in the browser. Exceptions in it, and what its policy refuses, fail the test.
type page struct {
	testing.TB
	ctx context.Context
}

// open opens the console at #/hash without signing in.
func (r *running) open(hash string) *page { r.Helper(); return openAt(r.TB, r.url+"#/"+hash) }

// openAt opens a page with a profile of its own.
func openAt(t testing.TB, url string) *page {
	t.Helper()
	all, err := chromium()
	require.NoError(t, err)
	return newPage(t, all, url, chromedp.WithNewBrowserContext())
}

// tab opens another page with the same profile.
func (p *page) tab(url string) *page {
	p.Helper()
	return newPage(p.TB, p.ctx, url, chromedp.WithExistingBrowserContext(chromedp.FromContext(p.ctx).BrowserContextID))
}

func newPage(t testing.TB, parent context.Context, url string, profile chromedp.ContextOption) *page {
	t.Helper()
	ctx, cancel := chromedp.NewContext(parent, profile)
	p := &page{t, ctx}
	require.NoError(t, chromedp.Do(ctx, chromedp.EmulateViewport(1280, 860)))
	messages := chromedp.Console(ctx)
	read := make(chan struct{})
	go func() {
		defer close(read)
		for m, err := range messages {
			if err != nil {
				return
			}
			if m.Type == chromedp.ConsoleException || m.Type == chromedp.ConsoleError && !ofTheNetwork(m.Text) {
				t.Errorf("the page's console has: %s %s (%s:%d)", m.Type, m.Text, m.URL, m.Line+1)
			}
		}
	}()
	t.Cleanup(func() {
		_ = chromedp.Cancel(ctx)
		cancel()
		<-read
	})
	require.NoError(t, chromedp.Do(ctx, chromedp.Navigate(url)))
	return p
}

// ofTheNetwork reports whether a browser only notes that a request failed, which the page shows.
func ofTheNetwork(text string) bool {
	return strings.HasPrefix(text, "Failed to load resource") || strings.HasPrefix(text, "WebSocket connection to")
}

// as opens the console at #/hash, signed in as a user, or with the admin key for "admin".
func (r *running) as(user, hash string) *page {
	r.Helper()
	credentials := map[string]any{"user": user, "password": password}
	if user == "admin" {
		credentials = map[string]any{"key": adminKey}
	}
	token, _ := r.call("POST", "operator/session", "", credentials)["token"].(string)
	p := openAt(r.TB, r.url+"healthz") // of the same origin
	p.do(fmt.Sprintf(`sessionStorage.setItem("watchtower.session", JSON.stringify({token: %q}))`, token))
	require.NoError(r, chromedp.Do(p.ctx, chromedp.Navigate(r.url+"#/"+hash)))
	p.waits(`document.querySelector(".nav") && document.activeElement.id === "main"`) // it gets the focus once
	return p
}

// evaluate returns what a script in the page evaluates to. A promise is waited for.
func evaluate[T any](p *page, script string) T {
	p.Helper()
	v, err := tryTo[T](p, script)
	require.NoError(p, err, script)
	return v
}

func tryTo[T any](p *page, script string) (T, error) {
	ctx, cancel := context.WithTimeout(p.ctx, harness.Patience)
	defer cancel()
	return chromedp.Run(ctx, chromedp.Evaluate[T](script, chromedp.EvalAwaitPromise))
}

// do executes a script.
func (p *page) do(script string) {
	p.Helper()
	evaluate[any](p, "void ("+script+")")
}

// waits waits until a script evaluates to something true.
func (p *page) waits(script string) {
	p.Helper()
	for end := time.Now().Add(harness.Patience); ; time.Sleep(20 * time.Millisecond) {
		// A page that is being loaded again evaluates nothing, and what is not there yet has no properties.
		if yes, err := tryTo[bool](p, "(() => { try { return Boolean("+script+") } catch (e) { if (e instanceof TypeError) return false; throw e } })()"); yes {
			return
		} else if err != nil && !strings.Contains(err.Error(), "navigated") {
			require.NoError(p, err, script)
		}
		if time.Now().After(end) {
			require.Fail(p, "the page never got there", "%s\n\n%s", script, p.text())
		}
	}
}

// text is what can be read on the page.
func (p *page) text() string { p.Helper(); return evaluate[string](p, "document.body.innerText") }

// reads waits until the page has a text.
func (p *page) reads(text string) {
	p.Helper()
	p.waits(fmt.Sprintf("document.body?.innerText.includes(%q)", text))
}

// readsNot waits until the page has a text no more.
func (p *page) readsNot(text string) {
	p.Helper()
	p.waits(fmt.Sprintf("!document.body.innerText.includes(%q)", text))
}

// finders are functions of a page that find elements as people do: what can be pressed by its
// words, a field by its label.
const finders = `
	const seen = e => e.checkVisibility() && !e.closest("[inert]")
	const top = () => document.querySelector("dialog[open]") ?? document.body
	const wordsOf = e => (e.getAttribute("aria-label") ?? e.textContent).trim()
	const pressable = words => [...top().querySelectorAll("button, a, summary, [role=option], [role=tab]")].find(e => seen(e) && wordsOf(e) === words && !e.disabled)
	const field = label => [...top().querySelectorAll("input, select, textarea")].find(e => seen(e) && !e.disabled && (e.getAttribute("aria-label") ?? [...e.labels].map(l => [...l.childNodes].filter(n => n.nodeType === 3).map(n => n.data).join("").trim()).join(" ")) === label)
`

// press waits for a button or link with these words, or this label, and clicks it as a mouse
// does.
func (p *page) press(words string) {
	p.Helper()
	var at []float64
	for end := time.Now().Add(harness.Patience); len(at) == 0; time.Sleep(20 * time.Millisecond) {
		// Two looks at the same place: it does not move any more.
		at = evaluate[[]float64](p, fmt.Sprintf(`(async () => {
			%s
			const centre = () => {
				const e = pressable(%q)
				if (!e) return []
				e.scrollIntoView({ block: "nearest" })
				const r = e.getBoundingClientRect(), x = r.x + r.width / 2, y = r.y + r.height / 2
				return e.contains(document.elementFromPoint(x, y)) ? [x, y] : []
			}
			const before = centre()
			await new Promise(done => setTimeout(done, 30))
			const now = centre()
			return String(before) === String(now) ? now : []
		})()`, finders, words))
		if time.Now().After(end) {
			require.Fail(p, "there is nothing to press", "%s\n\n%s", words, p.text())
		}
	}
	require.NoError(p, chromedp.Do(p.ctx, chromedp.MouseClickXY(at[0], at[1])))
}

// can reports whether there is a button or link with these words.
func (p *page) can(words string) bool {
	p.Helper()
	return evaluate[bool](p, fmt.Sprintf(`(() => { %s; return Boolean(pressable(%q)) })()`, finders, words))
}

// fill waits for a field with a label, and types a text into it in place of what is there.
func (p *page) fill(label, text string) {
	p.Helper()
	p.waits(fmt.Sprintf(`(() => { %s; const e = field(%q); e?.focus(); e?.select?.(); return e })()`, finders, label))
	p.types(text)
}

// choose waits for a field with a label, and chooses a value of its list.
func (p *page) choose(label, value string) {
	p.Helper()
	p.waits(fmt.Sprintf(`(() => { %s; const e = field(%q); if (!e) return; e.value = %q; e.dispatchEvent(new Event("input", {bubbles: true})); e.dispatchEvent(new Event("change", {bubbles: true})); return e.value === %[3]q })()`, finders, label, value))
}

// types types a text into the field that has the focus.
func (p *page) types(text string) {
	p.Helper()
	require.NoError(p, chromedp.Do(p.ctx, chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, input.InsertText, input.InsertTextParams{Text: text})
		return err
	})))
}

// key presses keys: kb.Enter and its like, or letters.
func (p *page) key(keys string) {
	p.Helper()
	require.NoError(p, chromedp.Do(p.ctx, chromedp.KeyEvent(keys)))
}

// goes opens another screen.
func (p *page) goes(hash string) { p.Helper(); p.do(fmt.Sprintf("location.hash = %q", "#/"+hash)) }

// looks sets the width of the window, in pixels, and the colours: light or dark.
func (p *page) looks(width int64, colours string) {
	p.Helper()
	require.NoError(p, chromedp.Do(p.ctx, chromedp.EmulateViewport(width, 860)))
	p.media("prefers-color-scheme", colours)
}

// forced has the browser use the colours of a contrast theme.
func (p *page) forced() { p.Helper(); p.media("forced-colors", "active") }

func (p *page) media(name, value string) {
	p.Helper()
	require.NoError(p, chromedp.Do(p.ctx, chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: name, Value: value}},
		})
		return err
	})))
}
