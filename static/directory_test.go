package static_test

import (
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/static"
)

// folder has a directory to serve, "site", and what is beside it.
func folder(t *testing.T) (top, site string) {
	t.Helper()
	top = t.TempDir()
	for name, text := range map[string]string{
		"secret.txt": "secret", "beside/index.html": "beside", "site/index.html": page, "site/css/main.css": "p{}", "site/sub dir/index.html": "sub",
		"site/bare/x.unknown": "<p>x", "site/.env": "secret", "site/.git/config": "secret", "site/css/.main.css.swp": "secret", "site/empty/.keep": "",
	} {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(top, name)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(top, name), []byte(text), 0o644))
	}
	site = filepath.Join(top, "site")
	for link, to := range map[string]string{"out.txt": "../secret.txt", "absolute.txt": filepath.Join(top, "secret.txt"), "outside": "../beside", "in.css": "css/main.css", "nowhere": "x"} {
		require.NoError(t, os.Symlink(to, filepath.Join(site, link)))
	}
	return top, site
}

func serveDirectory(t *testing.T, dir string) string {
	t.Helper()
	d, err := static.OpenDirectory(dir)
	require.NoError(t, err)
	server := httptest.NewServer(http.StripPrefix("/", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !d.Serve(w, r, r.URL.Path) {
			w.WriteHeader(http.StatusTeapot)
		}
	})))
	t.Cleanup(server.Close)
	return server.URL + "/"
}

func TestADirectoryIsServed(t *testing.T) {
	_, site := folder(t)
	at := serveDirectory(t, site)
	for path, want := range map[string][2]string{
		"": {"text/html; charset=utf-8", page}, "index.html": {"text/html; charset=utf-8", page}, "css/main.css": {"text/css; charset=utf-8", "p{}"},
		"sub%20dir/": {"text/html; charset=utf-8", "sub"}, "in.css": {"text/css; charset=utf-8", "p{}"}, "bare/x.unknown": {"text/html; charset=utf-8", "<p>x"},
	} {
		res, body := ask(t, "GET", at+path)
		assert.Equal(t, want, [2]string{res.Header.Get("Content-Type"), body}, path)
		assert.Equal(t, "nosniff", res.Header.Get("X-Content-Type-Options"))
		assert.Equal(t, "no-cache", res.Header.Get("Cache-Control"))
		assert.NotEmpty(t, res.Header.Get("Last-Modified"))
		for name, value := range map[string]string{"If-None-Match": res.Header.Get("ETag"), "If-Modified-Since": res.Header.Get("Last-Modified")} {
			res, body = ask(t, "GET", at+path, name, value)
			assert.Equal(t, 304, res.StatusCode, name)
			assert.Empty(t, body)
		}
		res, body = ask(t, "HEAD", at+path)
		assert.Equal(t, 200, res.StatusCode)
		assert.Empty(t, body)
	}
	res, body := ask(t, "GET", at, "Range", "bytes=3-7")
	assert.Equal(t, 206, res.StatusCode)
	assert.Equal(t, page[3:8], body)
}

func TestADirectorysNameGetsItsSlash(t *testing.T) {
	_, site := folder(t)
	res, _ := ask(t, "GET", serveDirectory(t, site)+"sub%20dir?x=1")
	assert.Equal(t, 301, res.StatusCode)
	assert.Equal(t, "sub%20dir/?x=1", res.Header.Get("Location"), "relative, also below a proxy's path")
}

func TestWhatIsNoFileOfADirectory(t *testing.T) {
	top, site := folder(t)
	pipe, err := net.Listen("unix", filepath.Join(site, "socket"))
	require.NoError(t, err)
	defer pipe.Close()
	at := serveDirectory(t, site)
	for _, path := range []string{
		"none.html", "css", "css/", "bare/", "empty", "empty/", "css/main.css/", "index.html/", "index.html/x",
		".env", ".git/config", ".git/", "css/.main.css.swp", "empty/.keep", "./index.html", "css/../index.html",
		"..", "../", "../secret.txt", "%2e%2e/secret.txt", "css/..%2f..%2fsecret.txt", "..%5csecret.txt", "/secret.txt", "//", "css//main.css",
		"%2f" + filepath.Join(top, "secret.txt"), "out.txt", "absolute.txt", "outside", "outside/", "outside/index.html", "nowhere", "socket", "%00", "index.html%00",
	} {
		res, body := ask(t, "GET", at+path)
		assert.Equal(t, http.StatusTeapot, res.StatusCode, "%q: %s", path, body)
	}
}

// A file that changes, and a directory that is replaced, show at once.
func TestADirectoryChanges(t *testing.T) {
	top, site := folder(t)
	at := serveDirectory(t, site)
	before, _ := ask(t, "GET", at)
	file := filepath.Join(site, "index.html")
	require.NoError(t, os.WriteFile(file, []byte("new"), 0o644))
	require.NoError(t, os.Chtimes(file, time.Time{}, time.Now().Add(time.Hour)))
	res, body := ask(t, "GET", at, "If-None-Match", before.Header.Get("ETag"))
	assert.Equal(t, "new", body)
	assert.NotEqual(t, before.Header.Get("ETag"), res.Header.Get("ETag"))
	require.NoError(t, os.Rename(site, filepath.Join(top, "old")))
	res, _ = ask(t, "GET", at)
	assert.Equal(t, http.StatusTeapot, res.StatusCode)
	require.NoError(t, os.Rename(filepath.Join(top, "beside"), site))
	_, body = ask(t, "GET", at)
	assert.Equal(t, "beside", body)
}

func TestADirectoryThatIsNotServed(t *testing.T) {
	top, site := folder(t)
	inside := filepath.Join(top, "link")
	require.NoError(t, os.Symlink(filepath.Join(site, "css"), inside))
	for _, test := range []struct{ dir, secret, fault string }{
		{filepath.Join(top, "none"), "", "there is no directory"},
		{filepath.Join(top, "secret.txt"), "", "cannot be served"},
		{site, site, "everybody could read"},
		{site, filepath.Join(site, "css"), "everybody could read"},
		{site, filepath.Join(site, "css", "main.css"), "everybody could read"},
		{site, inside, "everybody could read"},
		{top, site, "everybody could read"},
	} {
		_, err := static.OpenDirectory(test.dir, "", filepath.Join(top, "none"), test.secret)
		assert.ErrorContains(t, err, test.fault)
	}
	_, err := static.OpenDirectory(site, "", top, filepath.Join(top, "secret.txt"))
	assert.NoError(t, err)
}
