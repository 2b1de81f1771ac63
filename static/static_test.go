package static_test

import (
	"compress/gzip"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/static"
)

var page = strings.Repeat("<p>hello</p>\n", 100)

func serve(t *testing.T) string {
	t.Helper()
	files, err := static.New(fstest.MapFS{
		"index.html":   {Data: []byte(page)},
		"app/small.js": {Data: []byte("1")},
	}, http.Header{"Content-Security-Policy": {"default-src 'self'"}})
	require.NoError(t, err)
	assert.True(t, files.Has("/"))
	assert.True(t, files.Has("app/small.js"))
	assert.False(t, files.Has("/app"))
	server := httptest.NewServer(http.StripPrefix("/console", files))
	t.Cleanup(server.Close)
	return server.URL + "/console"
}

func ask(t *testing.T, method, url string, header ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequest(method, url, nil)
	require.NoError(t, err)
	for i := 0; i < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	res, err := (&http.Transport{DisableCompression: true, DisableKeepAlives: true}).RoundTrip(req)
	require.NoError(t, err)
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return res, string(b)
}

func TestAFileAsItIs(t *testing.T) {
	at := serve(t)
	res, body := ask(t, "GET", at+"/")
	assert.Equal(t, 200, res.StatusCode)
	assert.Equal(t, page, body)
	assert.Equal(t, "text/html; charset=utf-8", res.Header.Get("Content-Type"))
	assert.Equal(t, "no-cache", res.Header.Get("Cache-Control"))
	assert.Equal(t, "nosniff", res.Header.Get("X-Content-Type-Options"))
	assert.Equal(t, "default-src 'self'", res.Header.Get("Content-Security-Policy"))
	assert.Equal(t, "Accept-Encoding", res.Header.Get("Vary"))
	assert.Equal(t, int64(len(page)), res.ContentLength)

	res, body = ask(t, "HEAD", at+"/index.html")
	assert.Equal(t, 200, res.StatusCode)
	assert.Empty(t, body)
	assert.Equal(t, int64(len(page)), res.ContentLength)

	res, body = ask(t, "GET", at+"/app/small.js")
	assert.Equal(t, "1", body)
	assert.Equal(t, "text/javascript; charset=utf-8", res.Header.Get("Content-Type"))
}

func TestACompressedFile(t *testing.T) {
	at := serve(t)
	plain, _ := ask(t, "GET", at+"/")
	for accepted, want := range map[string]string{
		"gzip": "gzip", "br, GZIP;q=0.5": "gzip", "deflate,gzip": "gzip",
		"gzip;q=0": "", "gzip; q=0.000": "", "gzip;q=x": "", "br": "", "": "", "xgzip": "",
	} {
		res, body := ask(t, "GET", at+"/", "Accept-Encoding", accepted)
		assert.Equal(t, want, res.Header.Get("Content-Encoding"), accepted)
		assert.Equal(t, int64(len(body)), res.ContentLength, accepted)
		if want == "" {
			assert.Equal(t, plain.Header.Get("ETag"), res.Header.Get("ETag"))
			continue
		}
		assert.NotEqual(t, plain.Header.Get("ETag"), res.Header.Get("ETag"))
		r, err := gzip.NewReader(strings.NewReader(body))
		require.NoError(t, err)
		b, err := io.ReadAll(r)
		require.NoError(t, err)
		assert.Equal(t, page, string(b))
	}
	res, _ := ask(t, "GET", at+"/app/small.js", "Accept-Encoding", "gzip")
	assert.Empty(t, res.Header.Get("Content-Encoding"), "it would be larger")
}

func TestAFileThatTheBrowserHas(t *testing.T) {
	at := serve(t)
	for _, coding := range []string{"gzip", "identity"} {
		res, _ := ask(t, "GET", at+"/", "Accept-Encoding", coding)
		tag := res.Header.Get("ETag")
		require.NotEmpty(t, tag)
		for _, had := range []string{tag, `"x", W/` + tag, "*"} {
			res, body := ask(t, "GET", at+"/", "Accept-Encoding", coding, "If-None-Match", had)
			assert.Equal(t, 304, res.StatusCode, had)
			assert.Empty(t, body)
			assert.Equal(t, tag, res.Header.Get("ETag"))
			assert.Equal(t, "no-cache", res.Header.Get("Cache-Control"))
		}
		res, _ = ask(t, "GET", at+"/", "Accept-Encoding", coding, "If-None-Match", `"x"`)
		assert.Equal(t, 200, res.StatusCode)
	}
}

func TestWhatIsRefused(t *testing.T) {
	at := serve(t)
	for _, c := range []struct {
		method, path string
		status       int
	}{
		{"GET", "/nothing.html", 404}, {"GET", "/app/", 404}, {"GET", "/../static.go", 404},
		{"GET", "/app/..%2findex.html", 404}, {"POST", "/", 405}, {"DELETE", "/app/small.js", 405},
	} {
		res, body := ask(t, c.method, at+c.path)
		assert.Equal(t, c.status, res.StatusCode, c.path)
		assert.Equal(t, "application/problem+json", res.Header.Get("Content-Type"))
		var problem struct {
			Type, Title, Detail, Field string
			Status                     int
		}
		require.NoError(t, json.Unmarshal([]byte(body), &problem))
		assert.Equal(t, c.status, problem.Status)
		assert.Regexp(t, "^urn:watchtower:problem:[a-z-]+$", problem.Type)
		assert.NotEmpty(t, problem.Detail)
		if c.status == 405 {
			assert.Equal(t, "GET, HEAD", res.Header.Get("Allow"))
		}
	}
}

func TestAFileOfNoKnownType(t *testing.T) {
	_, err := static.New(fstest.MapFS{"x.exe": {Data: []byte("MZ")}}, nil)
	assert.ErrorContains(t, err, "x.exe")
}
