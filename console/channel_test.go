package console_test

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/config"
	"watchtower/internal/harness"
)

// rows are the messages that the page shows: sender and payload.
func (p *page) rows() []string {
	p.Helper()
	return evaluate[[]string](p, `[...document.querySelectorAll(".row")].map(r => r.querySelector(".said") ? r.querySelector(".from").textContent + ": " + r.querySelector(".said").textContent : "– " + r.textContent)`)
}

// shows waits until the page shows these messages, and no others.
func (p *page) shows(want ...string) {
	p.Helper()
	for end := time.Now().Add(harness.Patience); ; time.Sleep(tick) {
		got := p.rows()
		if assert.ObjectsAreEqual(want, got) {
			return
		}
		if time.Now().After(end) {
			require.Equal(p, want, got)
		}
	}
}

// clicks presses the mouse's button on a row that has a text.
func (p *page) clicks(text string) {
	p.Helper()
	row := fmt.Sprintf(`[...document.querySelectorAll(".row")].findLast(r => r.textContent.includes(%q))`, text)
	p.waits(row)
	at := evaluate[[]float64](p, fmt.Sprintf(`(() => { const b = %s.getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2] })()`, row))
	require.NoError(p, chromedp.Do(p.ctx, chromedp.MouseClickXY(at[0], at[1])))
}

// wheel turns the mouse's wheel over the list of messages.
func (p *page) wheel(by float64) {
	p.Helper()
	at := evaluate[[]float64](p, `(b => [b.x + 99, b.y + 99])(document.querySelector(".log").getBoundingClientRect())`)
	require.NoError(p, chromedp.Do(p.ctx, chromedp.MouseEvent(chromedp.MouseWheel, at[0], at[1], func(e *input.DispatchMouseEventParams) {
		e.DeltaX, e.DeltaY = 0.01, by // the browser wants both
	})))
}

// enter presses the Enter key as a keyboard does: a script that handles it may keep it from
// pressing what has the focus then.
func (p *page) enter() {
	p.Helper()
	require.NoError(p, chromedp.Do(p.ctx, chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		e := input.DispatchKeyEventParams{Type: input.DispatchKeyEventTypeKeyDown, Key: "Enter", Code: "Enter", Text: "\r", WindowsVirtualKeyCode: 13}
		if _, err := cdp.Call(ctx, t, input.DispatchKeyEvent, e); err != nil {
			return err
		}
		e.Type, e.Text = input.DispatchKeyEventTypeKeyUp, ""
		_, err := cdp.Call(ctx, t, input.DispatchKeyEvent, e)
		return err
	})))
}

// hears takes what waits in a device's mailbox until it has this many messages.
func (r *running) hears(token string, n int) (messages []map[string]any) {
	r.Helper()
	require.Eventually(r, func() bool {
		got, _ := r.call("GET", "messages", token, nil)["messages"].([]any)
		for _, m := range got {
			messages = append(messages, m.(map[string]any))
		}
		return len(messages) >= n
	}, harness.Patience, tick)
	return messages
}

func TestAChannelThatNobodyKnows(t *testing.T) {
	t.Parallel()
	r := start(t)
	p := r.as("ann", "channels")
	p.fill("Any channel", "0")
	p.press("Open")
	p.reads("Channels are whole numbers from 1 to 4294967295.")
	p.fill("Any channel", "77")
	p.key(kb.Enter)
	p.waits(`document.title.startsWith("Channels 77")`)
	p.reads("Nothing was said here lately.")
	p.reads("Nobody is on this channel.")

	kitchen := r.device("kitchen", 77)
	p.waits(`document.querySelector(".members")?.innerText.includes("kitchen")`)
	p.waits(`document.querySelector(".members")?.innerText.includes("HTTP")`)
	r.says(kitchen, 77, "hello")
	p.shows("kitchen: hello")
	p.waits(`document.querySelector(".row .mark.via-http")`)

	p.press("Remove from channel")
	p.reads("hears nothing more on channel 77")
	p.press("Keep it")
	p.clicks("hello")
	p.waits(`document.querySelector(".details")`)
	assert.True(t, p.can("Answer"))
	p.press("Close the message")
	p.press("Remove from channel")
	p.waits(`(() => { const e = document.querySelector("dialog .danger"); e?.click(); return e })()`)
	p.reads("Nobody is on this channel.")
	p.waits(`document.querySelector(".row .mark.hollow")`)
	p.clicks("hello")
	p.waits(`document.querySelector(".details")`)
	assert.False(t, p.can("Answer"), "it would not get it")

	for _, wrong := range []string{"0", "4294967296", "lamp", "1.5", "%3Cb%3E"} {
		p.goes("channels/" + wrong)
		p.reads("There is no such channel")
	}
	p.goes("channels/5")
	p.waits(`document.querySelector("h1")?.textContent === "5 Watering"`)
}

func TestTheListOfChannels(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *config.Config) { c.Channels[700] = config.Channel{Name: "Music"} })
	lamp, pump := r.device("lamp", 5, 9), r.device("pump", 9)
	r.says(lamp, 9, map[string]any{"on": true})
	p := r.as("lou", "channels")
	numbers := `[...document.querySelectorAll(".channels .number")].map(e => e.textContent).join()`
	p.waits(numbers + ` === "5,9,700"`)
	p.reads(`{"on":true}`)
	p.reads("nobody is on it")
	p.waits(`document.querySelectorAll(".channels li")[1].innerText.replace(/\s+/g, " ").includes("2 members 2 HTTP")`)

	// What is said appears by itself, also while the pointer keeps the rows where they are.
	p.press("Last heard")
	p.waits(numbers + ` === "9,5,700"`)
	require.NoError(t, chromedp.Do(p.ctx, chromedp.MouseEvent(chromedp.MouseMoved, 500, evaluate[float64](p, `document.querySelector(".channels").getBoundingClientRect().y + 9`))))
	r.says(lamp, 5, "the newest")
	p.reads("the newest")
	p.waits(`/\d\/s/.test(document.querySelector(".channels").innerText)`)
	p.waits(`document.querySelectorAll(".channels li")[1].querySelector("path").getAttribute("d").includes("V")`)
	assert.Equal(t, "9,5,700", evaluate[string](p, numbers))
	p.press("Last heard")
	p.waits(numbers + ` === "5,9,700"`)

	p.fill("Find a number or a name", "mus")
	p.waits(numbers + ` === "700"`)
	p.fill("Find a number or a name", "nobody has this")
	p.reads("No channel has “nobody has this”")
	p.fill("Find a number or a name", "9")
	p.waits(numbers + ` === "9"`)
	p.do(`document.querySelector(".channels a").click()`)
	p.shows(`lamp: {"on":true}`)
	_ = pump
}

func TestTenThousandChannels(t *testing.T) {
	t.Parallel()
	r := start(t)
	all := make([]int, 10_000)
	for i := range all {
		all[i] = i + 1
	}
	r.device("everywhere", all...)
	p := r.as("lou", "channels")
	count := `document.querySelectorAll(".channels li").length`
	p.waits(count + ` === 100`)
	p.press("More")
	p.waits(count + ` === 200`)
	p.fill("Find a number or a name", "10000")
	p.waits(count + ` === 1`)
}

func TestSayingSomething(t *testing.T) {
	t.Parallel()
	r := start(t)
	sub := exec.Command("mosquitto_sub", "-h", "127.0.0.1", "-p", port(r.g.Listening().At("mqtt")), "-u", "ear", "-P", secretKey, "-i", "ear", "-C", "1", "-W", "30", "-t", "watchtower/channels/5/broadcast")
	heard := make(chan string, 1)
	go func() {
		b, err := sub.CombinedOutput()
		heard <- fmt.Sprint(strings.TrimSpace(string(b)), " ", err)
	}()
	p := r.as("sid", "channels/5")
	p.waits(`document.querySelector(".members")?.innerText.includes("ear")`)
	p.fill("Say something", "water the flowers")
	p.press("Broadcast")
	p.shows("you: water the flowers")
	p.reads("Broadcast. It went out: 1 by MQTT.")
	p.waits(`document.querySelector("#announced").textContent.includes("1 by MQTT")`)
	assert.Equal(t, "water the flowers <nil>", <-heard)
	assert.False(t, p.can("Remove from channel"), "needs the role manage")

	// What was said before comes back by arrow keys.
	p.fill("Say something", `{"seconds":12345678901234567890}`)
	p.enter()
	p.shows("you: water the flowers", `you: {"seconds":12345678901234567890}`)
	p.waits(`document.querySelector("#say").value === ""`)
	p.key(kb.ArrowUp + kb.ArrowUp)
	p.waits(`document.querySelector("#say").value === "water the flowers"`)
	p.key(kb.ArrowDown)
	p.waits(`document.querySelector("#say").value.startsWith("{")`)

	p.choose("What it is", "hex")
	p.fill("Say something", "ff 0")
	p.reads("Half a byte")
	assert.False(t, p.can("Broadcast"))
	p.fill("Say something", "fx")
	p.reads("“x” is no hexadecimal digit")
	p.fill("Say something", "ff 00 41")
	p.reads("3 bytes")
	p.press("Broadcast")
	p.shows("you: water the flowers", `you: {"seconds":12345678901234567890}`, "you: ff 00 41")
	p.reads("Nobody is known to have got it yet.")

	look := r.as("lou", "channels/5")
	look.reads("water the flowers")
	assert.False(t, evaluate[bool](look, `Boolean(document.querySelector("form"))`), "needs the role speak")
}

func TestSayingSomethingToSome(t *testing.T) {
	t.Parallel()
	r := start(t)
	lamp, pump := r.device("lamp", 5), r.device("pump", 5)
	p := r.as("ann", "channels/5")
	p.press("To everybody")
	p.waits(`(() => { const e = [...document.querySelectorAll(".to label")].find(l => l.textContent === "pump"); e?.click(); return e })()`)
	p.waits(`document.querySelector(".to summary")?.textContent === "To pump"`)
	p.fill("Say something", "on")
	p.press("Send")
	p.reads("Sent to pump. It went out: 1 by HTTP.")
	p.shows("youto pump: on")
	got := r.hears(pump, 1)
	assert.Equal(t, "send", got[0]["type"])
	assert.Equal(t, "console.ann", got[0]["name"])

	// A device answers, and is answered.
	r.says(lamp, 5, "who was that?")
	p.reads("who was that?")
	sender := got[0]["sender"]
	r.call("POST", "send", pump, map[string]any{"channels": []int{5}, "receivers": []any{sender}, "message": "it is on"})
	p.shows("youto pump: on", "lamp: who was that?", "pumpto you: it is on")
	p.clicks("it is on")
	p.press("Answer")
	p.waits(`document.activeElement.id === "say"`)
	p.types(`{"thanks":true}`)
	p.enter()
	p.shows("youto pump: on", "lamp: who was that?", "pumpto you: it is on", `youto pump: {"thanks":true}`)
	assert.Equal(t, map[string]any{"thanks": true}, r.hears(pump, 2)[1]["message"])
	assert.Equal(t, "who was that?", r.hears(lamp, 1)[0]["message"], "and nothing else")
}

func TestFilterAndPause(t *testing.T) {
	t.Parallel()
	r := start(t)
	lamp, pump := r.device("lamp", 5), r.device("pump", 5)
	r.says(lamp, 5, "on")
	r.says(pump, 5, "Pressure 2 bar")
	r.says(pump, 5, "idle")
	p := r.as("lou", "channels/5")
	p.shows("lamp: on", "pump: Pressure 2 bar", "pump: idle")
	p.fill(filter, "from:pump bar")
	p.shows("pump: Pressure 2 bar")
	p.fill(filter, "nothing like this")
	p.reads("None of 3 messages has that.")
	p.do(`[...document.querySelectorAll(".members .name")].find(b => b.textContent.startsWith("lamp")).click()`)
	p.shows("lamp: on")
	p.fill(filter, " ")

	p.press("Pause")
	r.says(lamp, 5, "off")
	r.says(pump, 5, "off")
	p.reads("Paused, 2 new messages")
	p.shows("lamp: on", "pump: Pressure 2 bar", "pump: idle")
	p.press("Go on")
	p.shows("lamp: on", "pump: Pressure 2 bar", "pump: idle", "lamp: off", "pump: off")

	p.choose("Show messages as", "hex")
	p.shows("lamp: 6f 6e", "pump: 50 72 65 73 73 75 72 65 20 32 20 62 61 72", "pump: 69 64 6c 65", "lamp: 6f 66 66", "pump: 6f 66 66")
	p.choose("Begin with", "")
	p.reads("Nothing was said here lately.")
	p.choose("Begin with", "10m")
	p.waits(`document.querySelectorAll(".row").length === 6`)
	p.reads("What was said earlier is not kept any more") // the gateway runs for less than ten minutes
}

func TestReadingWithKeysAndAWheel(t *testing.T) {
	t.Parallel()
	r := start(t)
	lamp := r.device("lamp", 5)
	for i := range 60 {
		r.says(lamp, 5, i)
	}
	p := r.as("ann", "channels/5")
	p.waits(`[...document.querySelectorAll(".row .said")].at(-1)?.textContent === "59"`) // not 59 in the gateway's name, or in a time
	p.do(`document.querySelector("[role=listbox]").focus()`)
	active := `document.getElementById(document.activeElement.getAttribute("aria-activedescendant"))?.querySelector(".said").textContent`
	for _, step := range [][2]string{{kb.ArrowUp, "59"}, {kb.ArrowUp, "58"}, {kb.ArrowDown, "59"}, {kb.Home, "0"}, {kb.PageDown, "10"}, {kb.End, "59"}, {kb.Home, "0"}} {
		p.key(step[0])
		p.waits(active + ` === "` + step[1] + `"`)
		p.waits(`document.querySelector(".details .value")?.textContent === "` + step[1] + `"`)
		p.waits(`(r => { if (!r) return; const box = document.activeElement.getBoundingClientRect(); return r.top >= box.top - 1 && r.bottom <= box.bottom + 1 })(document.querySelector(".row.chosen")?.getBoundingClientRect())`)
	}

	// Who is not at the end stays where he is, and is told what comes.
	top := evaluate[float64](p, `document.querySelector(".log").scrollTop`)
	r.says(lamp, 5, "one more")
	p.reads("1 new message")
	assert.Equal(t, top, evaluate[float64](p, `document.querySelector(".log").scrollTop`))
	p.press("1 new message")
	p.reads("one more")
	p.key(kb.Escape)
	p.waits(`document.querySelector(".members")`)

	p.wheel(-300)
	p.reads("To the newest")
	harness.Eventually(t, func() bool { // the browser may still be scrolling up
		p.wheel(3000)
		return !strings.Contains(p.text(), "To the newest")
	})

	// On a phone a message opens above the list, and the list has the focus afterwards.
	p.looks(320, "light")
	p.waits(`!document.querySelector(".beside")`)
	p.do(`document.querySelector("[role=listbox]").focus()`)
	p.key(kb.ArrowUp)
	p.enter()
	p.waits(`document.querySelector("dialog .details .value")?.textContent === "one more"`)
	p.key(kb.Escape)
	p.waits(`!document.querySelector("dialog") && document.activeElement.getAttribute("role") === "listbox"`)
	p.press("1 member")
	p.waits(`document.querySelector("dialog .members")?.innerText.includes("lamp")`)
	assert.LessOrEqual(t, evaluate[float64](p, `document.documentElement.scrollWidth`), 320.0)
}

// filter is the label of the field that filters messages.
const filter = "Show only messages with these words. from: before a name shows only that sender."

func port(address string) string { return address[strings.LastIndexByte(address, ':')+1:] }

const tick = 20 * time.Millisecond
