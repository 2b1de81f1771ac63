// Package browser has a headless Chromium for tests: Debian's chromium-headless-shell, which has
// all that a page sees, and takes a third of the whole Chromium's processor time. Only tests
// import it.
package browser

import (
	"context"
	"fmt"
	"os/exec"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	pictures "github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
)

// shell is the program. What is in Debian's /usr/bin is a script, which does not end it when it is
// killed.
const shell = "/usr/lib/chromium/chromium-headless-shell"

// Whole has the whole Chromium started, with what is around its pages.
var Whole = chromedp.ExecPath("chromium")

// Start starts a browser. Its profile and its processes are gone when it has ended.
func Start(flags ...chromedp.ExecAllocatorOption) (browser context.Context, end func(), err error) {
	path, err := exec.LookPath(shell)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: make setup installs it", err)
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.Flag("disable-quic", true))
	alloc, cancel := chromedp.NewExecAllocator(context.Background(), append(options, flags...)...)
	ctx, _ := chromedp.NewContext(alloc)
	end = func() { _ = chromedp.Cancel(ctx); cancel() }
	return ctx, end, chromedp.Do(ctx, chromedp.Navigate("about:blank"))
}

// Open opens a page in a browser of its own, which ends with the test.
func Open(t testing.TB, url string, flags ...chromedp.ExecAllocatorOption) context.Context {
	t.Helper()
	browser, end, err := Start(flags...)
	require.NoError(t, err)
	t.Cleanup(end)
	return Tab(t, browser, url)
}

// Tab opens a page in another tab of the same browser, until the test ends.
func Tab(t testing.TB, browser context.Context, url string) context.Context {
	t.Helper()
	ctx, cancel := chromedp.NewContext(browser)
	t.Cleanup(func() { _ = chromedp.Cancel(ctx); cancel() })
	require.NoError(t, chromedp.Do(ctx, chromedp.Navigate(url)))
	return ctx
}

// Go goes to another page, and returns once it is loaded.
func Go(t testing.TB, page context.Context, url string) {
	t.Helper()
	require.NoError(t, chromedp.Do(page, chromedp.Navigate(url)))
}

// Evaluate runs a script in a page and returns its value.
func Evaluate[T any](t testing.TB, page context.Context, script string) T {
	t.Helper()
	v, err := chromedp.Run(page, chromedp.Evaluate[T](script))
	require.NoError(t, err)
	return v
}

// Await runs a script in a page, and returns what its promise resolves with.
func Await[T any](t testing.TB, page context.Context, script string) T {
	t.Helper()
	v, err := chromedp.Run(page, chromedp.Evaluate[T](script, chromedp.EvalAwaitPromise))
	require.NoError(t, err)
	return v
}

// Resize gives a page that many CSS pixels, each of scale pixels of a picture.
func Resize(t testing.TB, page context.Context, width, height int64, scale float64) {
	t.Helper()
	require.NoError(t, chromedp.Do(page, chromedp.EmulateViewport(width, height, chromedp.EmulateScale(scale))))
}

// Picture returns what a page shows, in WebP with that quality: 0 to 100.
func Picture(t testing.TB, page context.Context, quality int64) []byte {
	t.Helper()
	var taken pictures.CaptureScreenshotResult
	require.NoError(t, chromedp.Do(page, chromedp.Func(func(ctx context.Context, target *chromedp.Target) (err error) {
		taken, err = cdp.Call(ctx, target, pictures.CaptureScreenshot, pictures.CaptureScreenshotParams{Format: pictures.CaptureScreenshotFormatWebp, Quality: &quality})
		return err
	})))
	return taken.Data
}
