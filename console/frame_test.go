package console_test

import (
	"strings"
	"testing"
)

func TestSigningIn(t *testing.T) {
	t.Parallel()
	r := start(t)
	p := r.open("channels")
	p.fill("Admin key", "not the key")
	p.press("Sign in")
	p.reads("That is not the key.")
	p.waits(`document.activeElement.name === "secret" && document.activeElement.selectionStart === 0 && document.activeElement.selectionEnd > 0`)
	p.fill("Admin key", adminKey)
	p.press("Sign in")
	p.waits(`document.title.startsWith("Channels")`)
	p.do(`location.reload()`)
	p.waits(`document.title.startsWith("Channels")`)
	kept := evaluate[string](p, `JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])`)
	if want := `wtc_`; !strings.Contains(kept, want) || strings.Contains(kept, adminKey) {
		t.Errorf("the page keeps %s", kept)
	}
	p.press("Sign out")
	p.reads("Admin key")
	p.waits(`Object.keys(sessionStorage).length === 0`)
}
