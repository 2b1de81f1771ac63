package http_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	nethttp "net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
)

// rawAnswer sends a text, and reads one answer and the end of the connection.
func rawAnswer(t testing.TB, conn net.Conn, said string) (a answer) {
	t.Helper()
	require.NoError(t, conn.SetDeadline(time.Now().Add(30*time.Second)))
	go func() { _, _ = io.WriteString(conn, said) }() // the server may not read all
	in := bufio.NewReader(conn)
	resp, err := nethttp.ReadResponse(in, nil)
	require.NoError(t, err, "%.40q", said)
	b, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	assert.True(t, resp.Close, "%.40q", said)
	_, err = in.ReadByte()
	require.ErrorIs(t, err, io.EOF, "%.40q: closed, and not reset", said)
	return answer{resp.StatusCode, resp.Header, string(b)}
}

var misread = []struct {
	said   string
	status int
	code   string
}{
	{"hello\r\n\r\n", 400, "invalid-request"},
	{"GET /healthz\r\n\r\n", 400, "invalid-request"},
	{"GET  HTTP/1.1\r\n\r\n", 400, "invalid-request"},
	{"GET /healthz HTTP/1.1\r\n\r\n", 400, "invalid-request"},
	{"GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, "invalid-request"},
	{"GET /healthz HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n", 400, "invalid-request"},
	{"GET /healthz HTTP/1.1\r\nHost: a\r\nBad Name: x\r\n\r\n", 400, "invalid-request"},
	{"POST /register HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", 400, "invalid-request"},
	{"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400, "invalid-request"},
	{"GET /healthz HTTP/3.0\r\nHost: a\r\n\r\n", 505, "unsupported-version"},
	{"POST /register HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 501, "unsupported-transfer-coding"},
	{"POST /register HTTP/1.1\r\nHost: a\r\nExpect: tea\r\nContent-Length: 2\r\n\r\n{}", 417, "expectation-failed"},
	{"GET /healthz HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("x", 1<<20) + "\r\n\r\n", 431, "header-too-large"},
}

// Data that is not a request gets a problem and a log line, as any other error: with TLS
// too, and as the second request of a connection.
func TestWhatIsNoRequest(t *testing.T) {
	certified := httptest.NewTLSServer(nil)
	certified.Close()
	said := &bytes.Buffer{}
	g := start(t, func(b *bridge.Options, o *options) {
		b.Log.SetOutput(said)
		b.Log.SetLevel(logrus.InfoLevel)
		o.TLSListen, o.TLS = "127.0.0.1:0", &tls.Config{Certificates: certified.TLS.Certificates}
	})
	require.NotNil(t, g.server.TLSAddr())
	dial := map[string]func() net.Conn{
		"http": func() net.Conn {
			conn, err := net.Dial("tcp", g.server.Addr().String())
			require.NoError(t, err)
			return conn
		},
		"https": func() net.Conn {
			conn, err := tls.Dial("tcp", g.server.TLSAddr().String(), &tls.Config{InsecureSkipVerify: true})
			require.NoError(t, err)
			return conn
		},
		"as the second": func() net.Conn {
			conn, err := net.Dial("tcp", g.server.Addr().String())
			require.NoError(t, err)
			fmt.Fprint(conn, "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
			in := bufio.NewReader(conn)
			resp, err := nethttp.ReadResponse(in, nil)
			require.NoError(t, err)
			_, err = io.Copy(io.Discard, resp.Body)
			require.NoError(t, err)
			return conn
		},
	}
	for _, open := range dial {
		for _, m := range misread {
			conn := open()
			a := rawAnswer(t, conn, m.said)
			conn.Close()
			problem(t, a, m.status, m.code, "")
		}
	}
	conn, err := net.Dial("tcp", g.server.TLSAddr().String())
	require.NoError(t, err)
	defer conn.Close()
	a := rawAnswer(t, conn, "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
	problem(t, a, 400, "speaks-tls", "")
	assert.Contains(t, a.body, "this port speaks TLS: use https://")
	g.stop()
	assert.Equal(t, 1, strings.Count(said.String(), `problem="Invalid request"`), "one line a minute: %s", said)
	assert.Contains(t, said.String(), `problem="This port speaks TLS"`)
}

// Wrong keys and too large bodies are logged once a minute for each client and problem,
// without the key.
func TestTheOwnerIsToldOfRefusals(t *testing.T) {
	said := &bytes.Buffer{}
	g := start(t, func(b *bridge.Options, _ *options) {
		b.Log.SetOutput(said)
		b.Log.SetLevel(logrus.InfoLevel)
	})
	id, _ := g.register()
	f := g.follow(fmt.Sprintf("channels=5&sender=%d", id))
	for range 3 {
		assert.Equal(t, 401, g.post("/register", obj{"secret_key": "not my key"}).status)
		assert.Equal(t, 413, g.post("/broadcast", obj{"sender": id, "channels": []int{5}, "message": strings.Repeat("x", 64_001)}).status)
		assert.Equal(t, 413, g.do("POST", "/register", strings.Repeat(" ", 5000)).status)
	}
	f.close()
	g.stop()
	for _, title := range []string{"Invalid or missing secret key", "Message too large", "Body too large"} {
		assert.Equal(t, 1, strings.Count(said.String(), fmt.Sprintf("problem=%q", title)), "%s: %s", title, said)
	}
	assert.Contains(t, said.String(), "client=127.0.0.1")
	assert.Contains(t, said.String(), "path=/broadcast")
	assert.NotContains(t, said.String(), "not my key")
}
