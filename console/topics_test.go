package console_test

import (
	"fmt"
	"testing"

	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/assert"

	"watchtower/config"
)

// rows is a script: the visible levels of the tree of topics, but not the gateway's own.
const rows = `[...document.querySelectorAll(".tree li .level")].map(e => e.textContent).filter(level => level !== "watchtower")`

func (p *page) row(level string) {
	p.Helper()
	p.waits(fmt.Sprintf(`(() => { const e = [...document.querySelectorAll(".tree li")].find(e => e.querySelector(".level")?.textContent === %q); e?.click(); return e })()`, level))
}

func TestTopicsArePublishedAndRemoved(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *config.Config) { c.HomeAssistant.Enabled = false })
	p := r.as("ann", "topics")
	p.press("Publish")
	p.fill("Topic", "home/hall/lamp")
	p.fill("Message", `{"on":true,"n":12345678901234567890,"none":[]}`)
	p.press("Publish")
	p.waits(`document.querySelector(".value")`)
	assert.Equal(t, "3 fieldson: truen: 12345678901234567890none: []", evaluate[string](p, `document.querySelector(".value").textContent`), "digits stay as they were said")
	p.press("Text")
	assert.Contains(t, evaluate[string](p, `document.querySelector(".value").textContent`), `{"on":true,`)
	p.press("Hex")
	assert.Contains(t, evaluate[string](p, `document.querySelector(".value").textContent`), `0000  7b 22 6f 6e`)
	p.reads("46 bytes")

	p.press("Publish")
	p.fill("Topic", "home/hall/raw")
	p.fill("Message", "00 ff1")
	p.choose("As", "hex")
	p.press("Publish")
	p.reads("Half a byte")
	p.fill("Message", "00 ff")
	p.press("Publish")
	p.waits(`document.querySelector(".value")?.textContent.includes("0000  00 ff")`)
	p.press("Publish")
	p.fill("Topic", "home/+/x")
	p.press("Publish")
	p.waits(`document.querySelector("dialog .fault")`)
	p.key(kb.Escape)

	p.row("watchtower")
	p.reads("below this level")
	assert.False(t, p.can("Remove"), "the gateway's own stay")
	assert.False(t, evaluate[bool](p, `[...document.querySelectorAll("main button")].some(b => b.textContent.startsWith("Remove"))`))
	p.row("watchtower")
	p.row("home")
	p.row("hall")
	p.waits(rows + `.join() === "home,hall,lamp,raw"`)
	p.row("raw")
	p.waits(`document.querySelector(".value")?.textContent.includes("00 ff")`) // nothing moves any more
	p.press("Remove")
	p.press("Remove it")
	p.waits(rows + `.join() === "home,hall,lamp"`)
	p.reads("Nothing is retained here.")
	r.done(r.mqtt("device").Publish("home/cellar", 1, true, "dark"))
	p.row("home") // its details
	p.press("Remove 2 topics below")
	p.reads("Remove 2 retained messages?")
	p.press("Remove 2 messages")
	p.waits(rows + `.length === 0`)
}

func TestTopicsComeInPagesAndByKeys(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *config.Config) { c.HomeAssistant.Enabled = false })
	c := r.mqtt("device")
	for i := range 1999 {
		c.Publish(fmt.Sprintf("many/%04d", i), 0, true, "x")
	}
	r.done(c.Publish("many/1999", 1, true, "x"))
	r.done(c.Publish("other/one", 1, true, "y"))
	p := r.as("lou", "topics")
	p.waits(rows + `.join() === "many,other"`)
	assert.Equal(t, 1, evaluate[int](p, `document.querySelectorAll(".tree [tabindex='0']").length`), "the tree is one stop of Tab")
	p.do(`document.querySelector(".tree [tabindex='0']").focus()`)
	p.key(kb.ArrowRight)
	p.waits(rows + `.length === 102`)
	assert.Equal(t, "2,000", evaluate[string](p, `document.querySelector(".tree .below").firstChild.data`))
	p.key(kb.End)
	p.key(kb.ArrowUp) // from watchtower
	p.key(kb.ArrowUp)
	p.waits(`document.activeElement.textContent === "More of this level"`)
	p.key(kb.Enter)
	p.waits(rows + `.length === 202`)
	p.key(kb.Home)
	p.key("o")
	p.waits(`document.activeElement.querySelector(".level")?.textContent === "other"`)
	p.key(kb.ArrowRight)
	p.waits(rows + `.at(-1) === "one"`)
	p.key(kb.ArrowRight)
	p.key(kb.Enter)
	p.waits(`document.querySelector(".value")?.textContent === "y"`)
	assert.Equal(t, "one", evaluate[string](p, `document.activeElement.querySelector(".level").textContent`), "the focus stays in the tree")
	p.key(kb.ArrowLeft)
	p.key(kb.ArrowLeft)
	p.waits(rows + `.at(-1) === "other"`)
	p.do(`location.reload()`)
	p.waits(`document.querySelector(".value")?.textContent === "y"`) // the address names the topic
}

// Names and messages of strangers are text, whatever they hold.
func TestHostileTopicsAreText(t *testing.T) {
	t.Parallel()
	r := start(t)
	const hostile = `<img src=x onerror="document.title='run'">`
	c := r.mqtt("device")
	r.done(c.Publish("a/"+hostile, 1, true, hostile))
	r.done(c.Publish("__proto__/constructor", 1, true, `{"__proto__":{"x":1}}`))
	r.done(c.Publish("/leading", 1, true, "\u202e\x1b[31m"))
	p := r.as("admin", "topics")
	p.row("a")
	p.row(hostile)
	p.waits(`document.querySelector(".value")?.textContent.startsWith("<img")`)
	p.press("Remove")
	p.reads(hostile)
	p.press("Keep it")
	p.row("__proto__")
	p.row("constructor")
	p.waits(`document.querySelector(".value")?.textContent.includes("__proto__")`)
	p.row("(empty)")
	p.row("leading")
	p.waits(`document.querySelector(".value")?.textContent.includes("‹U+202E›␛[31m")`)
	assert.Equal(t, 0, evaluate[int](p, `document.querySelectorAll("main img").length`))
	assert.NotEqual(t, "run", evaluate[string](p, `document.title`))
}
