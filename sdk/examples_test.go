package sdk_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/config"
	"watchtower/internal/harness"
	"watchtower/internal/harness/browser"
)

// firstExample returns the first example of docs/sdk.md in a language, and the lines that it shows.
func firstExample(t *testing.T, language string) (code string, shows []string) {
	docs, err := os.ReadFile("../docs/sdk.md")
	require.NoError(t, err)
	_, rest, _ := strings.Cut(string(docs), "<!-- first -->\n```"+language+"\n")
	code, rest, found := strings.Cut(rest, "\n```\n")
	require.True(t, found)
	_, rest, _ = strings.Cut(rest, "<!-- first shows -->\n```text\n")
	text, _, found := strings.Cut(rest, "\n```\n")
	require.True(t, found)
	return code, strings.Split(text, "\n")
}

// The first page of docs/sdk.md works on a fresh gateway as it stands, and shows what the page says,
// an error too. What is heard and what is answered come in any order.
func testFirstPage(t *testing.T, chromium context.Context) {
	t.Parallel()
	code, want := firstExample(t, "html")
	folder := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(folder, "index.html"), []byte(code), 0o600))
	h := start(t, func(c *config.Config) { c.HTTP.Pages = folder })
	tab := browser.Tab(t, chromium, "http://"+h.at+"/pages/#"+h.shortToken(h.register("hello").Token, obj{"channels": []int{5}, "scope": "hear+speak"}))
	var shown []string
	harness.Eventually(t, func() bool {
		shown = strings.Split(strings.TrimSpace(browser.Await[string](t, tab, `document.querySelector("pre")?.textContent ?? ""`)), "\n")
		return len(shown) >= len(want)
	})
	assert.ElementsMatch(t, want, shown)
}

// So does the first program in Python.
func TestTheFirstProgramInPython(t *testing.T) {
	t.Parallel()
	code, want := firstExample(t, "python")
	folder := t.TempDir()
	h := start(t, nil)
	run := func(key string) []string {
		require.NoError(t, os.WriteFile(filepath.Join(folder, "hello.py"), []byte(strings.ReplaceAll(code, "localhost:8080", h.at)), 0o600))
		module, err := filepath.Abs("python")
		require.NoError(t, err)
		cmd := exec.Command("/usr/bin/python3", "-W", "error", "-B", "hello.py")
		cmd.Dir, cmd.Env = folder, append(os.Environ(), "PYTHONPATH="+module, "WATCHTOWER_SECRET_KEY="+key)
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		return strings.Split(strings.TrimSpace(string(out)), "\n")
	}
	assert.ElementsMatch(t, want, run(key))
	assert.Contains(t, run("a wrong key")[0], "error: secret_key: is not the gateway's secret key", "and no traceback")
}
