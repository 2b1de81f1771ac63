package house

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/stretchr/testify/require"

	"watchtower/internal/harness/browser"
)

// Page is a page of Home Assistant in a Chromium, at which its owner looks.
type Page struct {
	h   *House
	ctx context.Context
}

// signIn makes a browser that of the owner, as the page for signing in does, without the menu.
const signIn = `localStorage.hassTokens = JSON.stringify({
	hassUrl: location.origin, clientId: location.origin + "/", access_token: %q,
	token_type: "Bearer", refresh_token: "", expires_in: 86400, expires: Date.now() + 86400e3,
})
localStorage.dockedSidebar = '"always_hidden"'`

// Look opens a page in the whole Chromium, such as /config/devices/device/ID, of that many pixels.
// It is open until the test ends.
func (h *House) Look(path string, width, height int64) *Page {
	h.t.Helper()
	p := &Page{h: h, ctx: browser.Open(h.t, h.At()+"/manifest.json", browser.Whole)}
	browser.Evaluate[any](h.t, p.ctx, fmt.Sprintf(signIn, h.token))
	p.Resize(width, height)
	p.Go(path)
	return p
}

// Resize makes the page that large. A picture of it has two pixels for each, both ways.
func (p *Page) Resize(width, height int64) {
	p.h.t.Helper()
	browser.Resize(p.h.t, p.ctx, width, height, 2)
}

// Go goes to another page.
func (p *Page) Go(path string) {
	p.h.t.Helper()
	browser.Go(p.h.t, p.ctx, p.h.At()+path)
}

// shown is all text of a page, that of its web components too.
const shown = `(() => {
	const text = node => node.nodeType === Node.TEXT_NODE ? node.data
		: ["STYLE", "SCRIPT"].includes(node.nodeName) ? ""
		: [...(node.shadowRoot?.childNodes ?? []), ...node.childNodes].map(text).join(" ")
	return text(document.body).replace(/\s+/g, " ")
})()`

// Reads waits until the page has these texts.
func (p *Page) Reads(texts ...string) {
	p.h.t.Helper()
	for late := time.Now().Add(Patience); ; time.Sleep(50 * time.Millisecond) {
		got := browser.Evaluate[string](p.h.t, p.ctx, shown)
		missing := slices.DeleteFunc(slices.Clone(texts), func(text string) bool { return strings.Contains(got, text) })
		if len(missing) == 0 {
			return
		}
		if time.Now().After(late) {
			require.Fail(p.h.t, "the page does not read so", "%q in: %s", missing, got)
		}
	}
}

// press clicks the first element that has exactly this text and a size.
const press = `(() => {
	const find = node => {
		for (const child of [...(node.shadowRoot?.children ?? []), ...node.children]) {
			const found = find(child)
			if (found) return found
		}
		const box = node.getBoundingClientRect()
		return box.width > 0 && [...node.childNodes].some(n => n.nodeType === Node.TEXT_NODE && n.data.trim() === %q) ? node : undefined
	}
	const found = find(document.body)
	found?.click()
	return !!found
})()`

// Press clicks what has exactly this text.
func (p *Page) Press(text string) {
	p.h.t.Helper()
	p.h.await("the page has "+text, func() bool { return browser.Evaluate[bool](p.h.t, p.ctx, fmt.Sprintf(press, text)) })
}

// Picture returns a picture of the page in WebP, once nothing on it moves.
func (p *Page) Picture() (picture []byte) {
	p.h.t.Helper()
	since := time.Now()
	p.h.await("nothing moves for a second", func() bool {
		next := browser.Picture(p.h.t, p.ctx, 80)
		if !bytes.Equal(next, picture) {
			picture, since = next, time.Now()
		}
		return time.Since(since) > time.Second
	})
	return picture
}
