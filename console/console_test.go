package console_test

import (
	nethttp "net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/console"
	"watchtower/static"
)

func TestThePageAndItsFiles(t *testing.T) {
	page, err := console.New()
	require.NoError(t, err)
	for path, want := range map[string]struct {
		has    bool
		status int
		media  string
	}{
		"/":                         {true, 200, "text/html; charset=utf-8"},
		"/console/app.js":           {true, 200, "text/javascript; charset=utf-8"},
		"/console/vendor/preact.js": {true, 200, "text/javascript; charset=utf-8"},
		"/console/icon.svg":         {true, 200, "image/svg+xml"},
		"/console/nothing.js":       {true, 404, "application/problem+json"},
		"/console/vendor/../x":      {true, 404, "application/problem+json"},
		"/console":                  {has: false},
		"/openapi.yaml":             {has: false},
	} {
		require.Equal(t, want.has, page.Has(path), path)
		if !want.has {
			continue
		}
		w := httptest.NewRecorder()
		page.ServeHTTP(w, httptest.NewRequest(nethttp.MethodGet, path, nil))
		assert.Equal(t, want.status, w.Code, path)
		assert.Equal(t, want.media, w.Header().Get("Content-Type"), path)
		if want.status == 200 {
			assert.Contains(t, w.Header().Get("Content-Security-Policy"), "script-src 'self'", path)
			assert.Contains(t, w.Header().Get("Content-Security-Policy"), "require-trusted-types-for 'script'", path)
		}
	}
}

// All that a browser loads has at most 80 kB, compressed.
func TestThePageIsLight(t *testing.T) {
	total := 0
	require.NoError(t, filepath.WalkDir("web", func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) == ".txt" || filepath.Ext(path) == ".json" {
			return err
		}
		b, err := os.ReadFile(path)
		small := len(static.Compressed(b))
		t.Logf("%6d %s", small, path)
		total += min(small, len(b))
		return err
	}))
	t.Logf("%6d in all", total)
	assert.LessOrEqual(t, total, 80_000)
}
