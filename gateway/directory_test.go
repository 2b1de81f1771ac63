package gateway_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/config"
	"watchtower/gateway"
)

func testPages(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "index.html"), []byte("<p>hello"), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(dir, ".env"), []byte("secret"), 0o644))
	off := start(t, nil)
	status, refused := off.call("GET", "/pages/", "", "")
	assert.Equal(t, 404, status, "it is off")
	assert.Contains(t, refused, "--http-pages")
	r := start(t, func(c *config.Config) { c.HTTP.Pages = dir })
	for path, want := range map[string]int{"/pages/": 200, "/pages": 200, "/pages/index.html": 200, "/pages/.env": 404, "/pages/none": 404, "/pagesx": 404} {
		status, body := r.call("GET", path, "", "")
		assert.Equal(t, want, status, path)
		if want == 200 {
			assert.Equal(t, "<p>hello", body, path)
		} else {
			assert.Contains(t, body, `"type":"urn:watchtower:problem:not-found"`)
		}
	}
	status, body := r.call("POST", "/pages/", "", "x")
	assert.Equal(t, 405, status, body)
	status, _ = r.call("GET", "/pages/", "", "", "Origin", "http://evil.example")
	assert.Equal(t, 403, status, "of another origin")
	status, _ = r.call("GET", "/pages/?access_token=wtp_wrong", "", "")
	assert.Equal(t, 401, status, "a wrong token is told")
	_, body = r.call("POST", "/tokens", "", `{"scope":"hear"}`, "Authorization", "Bearer "+r.register("").Token)
	var pass struct{ Token string }
	require.NoError(t, json.Unmarshal([]byte(body), &pass))
	status, _ = r.call("GET", "/pages/?access_token="+pass.Token, "", "")
	assert.Equal(t, 200, status)

	for faulty, fault := range map[string]string{filepath.Join(dir, "none"): "http.pages: there is no directory", r.cfg.DataDir: "which everybody could read"} {
		cfg := testConfig(t)
		cfg.HTTP.Pages = faulty
		if faulty == r.cfg.DataDir {
			cfg.HTTP.Pages = cfg.DataDir
		}
		log := logrus.New()
		log.SetOutput(io.Discard)
		_, err := gateway.New(cfg, log)
		assert.ErrorContains(t, err, fault)
	}
}

// A large file may take longer than http.write_timeout, as long as its reader reads.
func TestALargePageForASlowReader(t *testing.T) {
	t.Parallel()
	dir, large := t.TempDir(), make([]byte, 32<<20)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "large.bin"), large, 0o644))
	const most = 2 * time.Second // a busy machine lets the reader wait, too
	r := start(t, func(c *config.Config) { c.HTTP.Pages, c.HTTP.WriteTimeout = dir, most })
	conn, err := net.Dial("tcp", r.at.HTTP)
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.(*net.TCPConn).SetReadBuffer(256<<10))
	_, err = fmt.Fprint(conn, "GET /pages/large.bin HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	require.NoError(t, err)
	began, got := time.Now(), 0
	steps := time.NewTicker(10 * time.Millisecond)
	defer steps.Stop()
	for got < len(large)/2 || time.Since(began) < 2*most {
		n, err := io.ReadFull(conn, make([]byte, 64<<10))
		require.NoError(t, err, "after %s and %d bytes", time.Since(began), got)
		got += n
		<-steps.C
	}
	rest, err := io.ReadAll(conn)
	require.NoError(t, err)
	assert.Greater(t, got+len(rest), len(large))
}
