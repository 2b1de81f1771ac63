package console_test

import (
	"path/filepath"
	"testing"

	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/target"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/config"
	"watchtower/gateway"
	"watchtower/internal/harness"
)

func TestSettingsShowNoSecret(t *testing.T) {
	t.Parallel()
	r := start(t)
	p := r.as("ann", "settings")
	p.waits(`document.querySelector("details.settings[open] tbody tr")`)
	p.fill("Find a setting", "secret_key")
	p.waits(`document.querySelectorAll("details.settings tbody tr").length < 20`)
	p.waits(`[...document.querySelectorAll("details.settings tbody tr")].some(r => r.innerText.includes("secret_key") && /\bset\b/.test(r.cells[1].innerText))`)
	p.fill("Find a setting", "")
	p.waits(`document.querySelectorAll("details.settings tbody tr").length > 80`)
	all := evaluate[string](p, `document.documentElement.outerHTML`)
	for _, secret := range []string{secretKey, adminKey, r.cfg.Users["ann"].PasswordHash, password} {
		assert.NotContains(t, all, secret)
	}
	p.fill("Find a setting", "no such thing")
	p.reads("No setting is like that.")
}

func TestSessionsAreEnded(t *testing.T) {
	t.Parallel()
	r := start(t)
	other := r.as("lou", "")
	p := r.as("ann", "settings")
	p.waits(`document.querySelectorAll("button[aria-label^='End the session of lou']").length === 1`)
	p.waits(`[...document.querySelectorAll("section[aria-labelledby=sessions] tbody tr")].map(r => r.innerText.includes("this browser") + " " + r.innerText.includes("ann")).sort().join() === "false false,true true"`) // both were used in one second, perhaps
	p.do(`document.querySelector("button[aria-label^='End the session of lou']").click()`)
	p.press("End it")
	p.waits(`!document.querySelector("button[aria-label^='End the session of lou']")`)
	other.do(`document.dispatchEvent(new Event("visibilitychange"))`) // or it asks ten seconds later
	other.reads("Your session has ended. Please sign in again.")
}

func TestTheConfigurationIsReadAgain(t *testing.T) {
	t.Parallel()
	r := start(t)
	next := r.cfg
	r.stop()
	r.options = []gateway.Option{gateway.From(func() (config.Config, error) { return next, next.Validate() })}
	r.start()
	p := r.as("admin", "settings")
	p.press("Reload")
	p.reads("Nothing has changed.")
	next.Channels = map[uint32]config.Channel{5: {Name: "Garden"}}
	next.HTTP.Linger *= 2
	p.press("Reload")
	p.reads("Taken over:")
	p.reads("channels.5")
	p.reads("These wait for a restart of the gateway:")
	p.waits(`[...document.querySelectorAll("section[aria-labelledby=reload] li")].some(e => e.textContent === "http.linger")`)
	next.HTTP.Linger = -1
	p.press("Reload")
	p.waits(`document.querySelector("section[aria-labelledby=reload] [role=alert]")?.innerText.includes("http.linger")`)
}

// A backup is a file of the size that the page says.
func TestABackupIsDownloaded(t *testing.T) {
	t.Parallel()
	r := start(t)
	p := r.as("admin", "settings")
	dir := t.TempDir()
	info, err := chromedp.Call(p.ctx, target.GetTargetInfo, target.GetTargetInfoParams{})
	require.NoError(t, err)
	_, err = chromedp.CallBrowser(p.ctx, browser.SetDownloadBehavior, browser.SetDownloadBehaviorParams{
		Behavior: browser.SetDownloadBehaviorBehaviorAllow, BrowserContextID: info.TargetInfo.BrowserContextID, DownloadPath: dir,
	})
	require.NoError(t, err)
	p.press("Download a backup")
	p.waits(`/^watchtower.*\.tar, /.test(document.querySelector("section[aria-labelledby=backup] [role=status]")?.innerText)`)
	harness.Eventually(t, func() bool {
		found, err := filepath.Glob(filepath.Join(dir, "watchtower*.tar"))
		return err == nil && len(found) == 1
	})
}
