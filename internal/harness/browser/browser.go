// Package browser has a headless Chromium for tests. Only tests import it.
package browser

import (
	"context"
	"os/exec"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
)

// Open opens a page in a browser of its own, which ends with the test.
func Open(t testing.TB, url string, flags ...chromedp.ExecAllocatorOption) context.Context {
	t.Helper()
	path, err := exec.LookPath("chromium")
	require.NoError(t, err, "chromium is missing: make setup installs it")
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path),
		chromedp.NoSandbox, chromedp.UserDataDir(t.TempDir()), chromedp.Flag("disable-quic", true))
	alloc, cancel := chromedp.NewExecAllocator(context.Background(), append(options, flags...)...)
	t.Cleanup(cancel)
	return Tab(t, alloc, url)
}

// Tab opens a page in another tab of the same browser, until the test ends.
func Tab(t testing.TB, browser context.Context, url string) context.Context {
	t.Helper()
	ctx, cancel := chromedp.NewContext(browser)
	t.Cleanup(func() { _ = chromedp.Cancel(ctx); cancel() })
	require.NoError(t, chromedp.Do(ctx, chromedp.Navigate(url)))
	return ctx
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
