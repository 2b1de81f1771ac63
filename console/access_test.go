package console_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// allScreens are the addresses of all screens, with something on them.
var allScreens = []string{"", "channels", "channels/5", "devices", "callbacks", "topics", "homeassistant", "settings", "start"}

// furnished is a gateway on which there is something on each screen.
func furnished(t *testing.T) *running {
	t.Helper()
	r := start(t)
	token := r.device("kitchen", 5)
	r.says(token, 5, map[string]any{"valve": "open", "seconds": 30})
	r.says(token, 5, "moisture=75")
	r.call("POST", "channels/join/async", token, map[string]any{"channels": []int{5}, "callback_url": "http://127.0.0.1:9/hook"})
	return r
}

// settled waits until a screen is there, with its data.
func (p *page) settled(hash string) {
	p.Helper()
	p.goes(hash)
	p.waits(fmt.Sprintf(`location.hash === %q && document.querySelector("main h1") && !document.querySelector("[aria-busy=true]")`, "#/"+hash))
}

// axe-core finds no violation of WCAG on any screen, wide and narrow, light and dark.
func TestScreensAreAccessible(t *testing.T) {
	t.Parallel()
	r := furnished(t)
	axe, err := os.ReadFile(modules + "/axe-core/axe.min.js")
	require.NoError(t, err)
	check := func(p *page, name string) {
		t.Helper()
		faults := evaluate[[]string](p, `axe.run(document, { resultTypes: ["violations"] }).then(r => r.violations.flatMap(v => v.nodes.map(n => v.id + ": " + n.target + " " + n.failureSummary)))`)
		assert.Empty(t, faults, "%s:\n%s", name, strings.Join(faults, "\n"))
	}
	p := r.open("")
	p.reads("Admin key")
	evaluate[any](p, string(axe)+";0")
	check(p, "sign in")
	p = r.as("ann", "")
	evaluate[any](p, string(axe)+";0")
	for _, width := range []int64{1280, 390} {
		for _, colours := range []string{"light", "dark"} {
			p.looks(width, colours)
			p.waits(fmt.Sprintf(`document.documentElement.dataset.theme === %q`, colours))
			for _, hash := range allScreens {
				p.settled(hash)
				check(p, fmt.Sprintf("#/%s %d %s", hash, width, colours))
			}
		}
	}
}

// Nothing has to be scrolled sideways, down to 320 pixels.
func TestScreensAreNarrow(t *testing.T) {
	t.Parallel()
	r := furnished(t)
	p := r.as("ann", "")
	p.looks(320, "light")
	for _, hash := range allScreens {
		p.settled(hash)
		wide := evaluate[[]string](p, `[...document.querySelectorAll("main *")].filter(e => e.checkVisibility() && e.getBoundingClientRect().right > innerWidth + 1 && !e.closest(".unseen, pre, table, [role=listbox], .scrolls")).map(e => e.outerHTML.slice(0, 120))`)
		assert.Empty(t, wide, hash)
		assert.LessOrEqual(t, evaluate[int](p, "document.documentElement.scrollWidth"), 320, hash)
	}
}

// Without a mouse: sign in, go to a screen, look at another time in the chart, sign out.
func TestKeyboardOnly(t *testing.T) {
	t.Parallel()
	r := furnished(t)
	p := r.open("")
	p.waits(`document.activeElement.name === "secret"`)
	p.types(adminKey)
	p.key(kb.Enter)
	p.waits(`document.activeElement.id === "main"`)
	p.reads("Messages a second")
	tab := func(to string) {
		t.Helper()
		for range 60 {
			p.key(kb.Tab)
			if evaluate[bool](p, fmt.Sprintf("Boolean(document.activeElement?.closest(%q))", to)) {
				return
			}
		}
		require.Fail(t, "no key leads there", to)
	}
	tab(".plot")
	p.key(kb.ArrowLeft)
	p.waits(`document.querySelector(".plot .cursor")`)
	tab(`a[href="#/devices"]`)
	p.key(kb.Enter)
	p.waits(`document.title.startsWith("Devices") && document.activeElement.id === "main"`)
	p.reads("kitchen")
}

// Every control has a name, and forced colours leave all of it visible.
func TestForcedColours(t *testing.T) {
	t.Parallel()
	r := furnished(t)
	p := r.as("ann", "")
	p.forced()
	for _, hash := range allScreens {
		p.settled(hash)
		invisible := evaluate[[]string](p, `[...document.querySelectorAll("main button, main a")].filter(e => e.checkVisibility()).filter(e => getComputedStyle(e).color === getComputedStyle(e).backgroundColor).map(e => e.outerHTML.slice(0, 120))`)
		assert.Empty(t, invisible, hash)
	}
}
