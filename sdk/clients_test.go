package sdk_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/internal/harness"
	"watchtower/internal/harness/browser"
)

// obj is a JSON object.
type obj = map[string]any

// problem is an error of an SDK.
type problem struct {
	Type, Detail, Field string
	Status              int
	RetryAfter          float64
}

// event is what an SDK told its program.
type event struct {
	Event    string // message, gap, confirm, state
	ID       string
	Kind     string
	Channel  int
	Sender   uint32
	Name     string
	Message  any
	State    string
	Channels []int
	Reason   string
	Error    *problem
	Tasks    int

	Confirmed, Of int
	Until         string
	By            []uint32
}

// answer is what a call of an SDK returned, or raised.
type answer struct {
	OK    any
	Error *problem
}

// client is a program in some language with its SDK. testdata has the programs.
type client struct {
	t    testing.TB
	ask  func(op string, args obj) answer
	told func() []event
}

// do calls the SDK, which must succeed.
func (c *client) do(op string, args obj) obj {
	c.t.Helper()
	a := c.ask(op, args)
	require.Nil(c.t, a.Error, "%s: %+v", op, a.Error)
	ok, _ := a.OK.(obj)
	return ok
}

// refused calls the SDK, which must fail.
func (c *client) refused(op string, args obj) problem {
	c.t.Helper()
	a := c.ask(op, args)
	require.NotNil(c.t, a.Error, "%s: %v", op, a.OK)
	return *a.Error
}

// connect registers with the secret key.
func (c *client) connect(at, name string) uint32 {
	c.t.Helper()
	args := obj{"url": "http://" + at, "key": key}
	if name != "" {
		args["name"] = name
	}
	return uint32(c.do("connect", args)["id"].(float64))
}

func (c *client) of(kind string) (some []event) {
	for _, e := range c.told() {
		if e.Event == kind {
			some = append(some, e)
		}
	}
	return some
}

// heard waits for so many messages, and returns all.
func (c *client) heard(n int) (all []any) {
	c.t.Helper()
	c.eventually(func() bool { return len(c.of("message")) >= n }, "%d messages", n)
	for _, e := range c.of("message") {
		all = append(all, e.Message)
	}
	require.Len(c.t, all, n)
	return all
}

// reached returns how often a state was reached.
func (c *client) reached(state string) (some []event) {
	for _, e := range c.of("state") {
		if e.State == state {
			some = append(some, e)
		}
	}
	return some
}

// reaches waits for a state.
func (c *client) reaches(state string, times int) event {
	c.t.Helper()
	var last event
	c.eventually(func() bool {
		all := c.reached(state)
		if len(all) > 0 {
			last = all[len(all)-1]
		}
		return len(all) >= times
	}, "%s, %d times", state, times)
	return last
}

func (c *client) eventually(f func() bool, format string, args ...any) {
	c.t.Helper()
	if !assert.Eventually(c.t, f, harness.Patience, 20*time.Millisecond) {
		require.Fail(c.t, fmt.Sprintf(format, args...), "%+v", c.told())
	}
}

// newPage opens a page of the gateway, with the SDK in it, in a tab of the browser.
func newPage(t testing.TB, chromium context.Context, at string) *client {
	page := browser.Tab(t, chromium, "http://"+at+"/watchtower.d.ts")
	return newClient(t, page)
}

// newClient puts the driver into a page.
func newClient(t testing.TB, page context.Context) *client {
	driver, err := os.ReadFile("testdata/drive.js")
	require.NoError(t, err)
	require.True(t, browser.Await[bool](t, page, string(driver)))
	c := &client{t: t}
	c.ask = func(op string, args obj) (a answer) {
		text := browser.Await[string](t, page, fmt.Sprintf("drive(%q, %s)", op, encode(t, args)))
		require.NoError(t, json.Unmarshal([]byte(text), &a))
		return a
	}
	var events []event
	c.told = func() []event {
		var more []event
		text := browser.Evaluate[string](t, page, fmt.Sprintf("told(%d)", len(events)))
		require.NoError(t, json.Unmarshal([]byte(text), &more))
		events = append(events, more...)
		return events
	}
	return c
}

func encode(t testing.TB, v any) string {
	b, err := json.Marshal(v)
	require.NoError(t, err)
	return string(b)
}

// newPython runs Debian's Python with the SDK. When the test ends, the program closes its
// client, and has to end without a task left.
func newPython(t testing.TB, environment ...string) *client {
	cmd := exec.Command("/usr/bin/python3", "-W", "error", "testdata/drive.py", "python")
	cmd.Env = append(os.Environ(), environment...)
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	var warnings bytes.Buffer
	cmd.Stderr = &warnings
	require.NoError(t, cmd.Start())

	p := &python{in: in, waiting: map[int]chan answer{}, ended: make(chan struct{})}
	go func() {
		defer close(p.ended)
		p.read(bufio.NewScanner(out))
	}()
	t.Cleanup(func() {
		in.Close()
		late := time.AfterFunc(harness.Patience, func() { _ = cmd.Process.Kill() })
		defer late.Stop()
		<-p.ended
		assert.NoError(t, cmd.Wait())
		assert.Empty(t, warnings.String())
		told := p.told()
		require.NotEmpty(t, told)
		assert.Equal(t, event{Event: "left"}, told[len(told)-1], "no task is left")
	})
	return &client{t: t, ask: p.ask, told: p.told}
}

type python struct {
	in    io.Writer
	ended chan struct{}

	mu      sync.Mutex
	asked   int
	waiting map[int]chan answer
	events  []event
}

func (p *python) read(lines *bufio.Scanner) {
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		var line struct {
			N int
			answer
			event
		}
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			panic(fmt.Sprintf("%s: %v", lines.Bytes(), err))
		}
		p.mu.Lock()
		if line.N > 0 {
			var a answer
			_ = json.Unmarshal(lines.Bytes(), &a) // it was read once
			p.waiting[line.N] <- a
		} else {
			var e event
			_ = json.Unmarshal(lines.Bytes(), &e)
			p.events = append(p.events, e)
		}
		p.mu.Unlock()
	}
}

func (p *python) ask(op string, args obj) answer {
	p.mu.Lock()
	p.asked++
	n, came := p.asked, make(chan answer, 1)
	p.waiting[n] = came
	b, err := json.Marshal(obj{"n": n, "op": op, "args": args})
	if err == nil {
		_, err = p.in.Write(append(b, '\n'))
	}
	p.mu.Unlock()
	if err != nil {
		return answer{Error: &problem{Type: "driver", Detail: err.Error()}}
	}
	select {
	case a := <-came:
		return a
	case <-p.ended:
		return answer{Error: &problem{Type: "driver", Detail: "the program has ended"}}
	case <-time.After(2 * harness.Patience):
		return answer{Error: &problem{Type: "driver", Detail: "the program does not answer"}}
	}
}

func (p *python) told() []event {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.events
}
