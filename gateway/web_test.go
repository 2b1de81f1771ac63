package gateway_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	nethttp "net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/config"
	"watchtower/internal/harness"
)

// nginx serves a gateway below a path, by its changed configuration, and returns its address.
func nginx(t testing.TB, gateway string, change func(string) string) string {
	t.Helper()
	b, err := os.ReadFile("testdata/prefix.conf")
	require.NoError(t, err)
	dir, at := t.TempDir(), harness.FreeAddress(t)
	conf := strings.NewReplacer(
		"127.0.0.1:8000", at, "127.0.0.1:8080", gateway, "/tmp/", dir+"/",
	).Replace(string(b))
	if os.Getuid() == 0 {
		conf = "user root;\n" + conf // its workers have to reach the page
	}
	if change != nil {
		conf = change(conf)
	}
	file := filepath.Join(dir, "nginx.conf")
	require.NoError(t, os.WriteFile(file, []byte(conf), 0o600))
	cmd := exec.Command(program(t, "nginx"), "-p", dir, "-c", file, "-g", "daemon off;")
	cmd.Stderr = os.Stderr
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Signal(os.Interrupt); _ = cmd.Wait() })
	eventually(t, "nginx listens", func() bool {
		conn, err := net.Dial("tcp", at)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	return at
}

// streamClient is a stream's client of npm.
func streamClient(t testing.TB, kind, url string) *node {
	t.Helper()
	return nodeProgram(t, nodeClient+"/stream.js", kind, url)
}

func (n *node) heard(t testing.TB) map[string]any {
	t.Helper()
	for {
		text := strings.Join(<-n.lines, " ")
		require.NotEmpty(t, text, "node ended")
		if text[0] != '{' {
			continue
		}
		require.NoError(t, described.Check("Heard", []byte(text)))
		var v map[string]any
		require.NoError(t, json.Unmarshal([]byte(text), &v))
		return v
	}
}

// npm's EventSource and WebSocket, directly and through nginx.
func TestStreamsOfNode(t *testing.T) {
	t.Parallel()
	r := start(t, nil)
	cable := harness.NewCable(t, r.at.HTTP)
	proxied := nginx(t, cable.Addr(), nil) + "/watchtower"
	for _, at := range []string{cable.Addr(), proxied} {
		id := r.register("").ID
		query := fmt.Sprintf("/channels/join?channels=7&sender=%d", id)
		sse := streamClient(t, "sse", "http://"+at+query)
		sse.next("open")
		ws := streamClient(t, "ws", "ws://"+at+query)
		ws.next("open")
		fmt.Fprintln(ws.in, `{"type":"broadcast","channels":[7],"message":{"on":true},"ref":1}`)
		first := sse.heard(t)
		assert.Equal(t, map[string]any{"on": true}, first["message"])
		one, other := ws.heard(t), ws.heard(t)
		if one["type"] == "accepted" { // they may come in either order
			one, other = other, one
		}
		assert.Equal(t, first, one)
		assert.Equal(t, "accepted", other["type"])

		cable.Cut() // for a moment: it comes back by itself, with Last-Event-ID
		ws.next("closed")
		for i := range 3 {
			r.post("/broadcast", fmt.Sprintf(`{"sender":%d,"channels":[7],"message":%d}`, id, i), nil)
		}
		cable.Mend()
		if at == proxied {
			continue // nginx may have said 502, after which an EventSource gives up
		}
		for i := range 3 {
			assert.EqualValues(t, i, sse.heard(t)["message"])
		}
	}
	ws := streamClient(t, "ws", fmt.Sprintf("ws://%s/channels/join?channels=7&sender=%d", r.at.HTTP, r.register("").ID))
	ws.next("open")
	r.stop()
	assert.Equal(t, []string{"closed", "1001", "the", "gateway", "is", "stopping"}, ws.next("closed"))
}

// A stream that is cut fails in fetch, one that the gateway ends does not.
func TestFetchKnowsACutFromAnEnd(t *testing.T) {
	t.Parallel()
	r := start(t, nil)
	cable := harness.NewCable(t, r.at.HTTP)
	id := r.register("").ID
	open := func(channel int) *node {
		n := streamClient(t, "fetch", fmt.Sprintf("http://%s/channels/join?channels=%d&sender=%d", cable.Addr(), channel, id))
		n.next("open")
		return n
	}
	ended, cut := open(7), open(8)
	r.post("/channels/leave", fmt.Sprintf(`{"sender":%d,"channels":[7]}`, id), nil)
	assert.Equal(t, []string{"closed", "end"}, ended.next("closed"))
	cable.Cut()
	assert.Equal(t, []string{"closed", "cut"}, cut.next("closed"))
}

// Clients that come and go leave neither goroutines nor descriptors.
func TestAThousandConnects(t *testing.T) { comeAndGo(t, 1000) }

func comeAndGo(t *testing.T, times int) {
	r := start(t, func(c *config.Config) { c.HTTP.Linger = 0 })
	id := r.register("").ID
	transport := &nethttp.Transport{DisableKeepAlives: true}
	connect := func(n int) {
		query := fmt.Sprintf("http://%s/channels/join?channels=5&sender=%d", r.at.HTTP, id)
		ctx, cancel := context.WithTimeout(context.Background(), patient)
		defer cancel()
		req, err := nethttp.NewRequestWithContext(ctx, "GET", query, nil)
		require.NoError(t, err)
		if n%2 == 0 {
			req.Header.Set("Accept", "text/event-stream")
		}
		res, err := transport.RoundTrip(req)
		require.NoError(t, err)
		if n%3 == 0 { // some read, some do not
			_, err = res.Body.Read(make([]byte, 1))
			require.NoError(t, err)
		}
		res.Body.Close()
	}
	connect(0)
	before := usage(t)
	var workers sync.WaitGroup
	for range 20 {
		workers.Go(func() {
			for n := range times / 20 {
				connect(n)
			}
		})
	}
	workers.Wait()
	eventually(t, "all have left", func() bool { n, _ := r.g.Hub().Directory().Counts(); return n[viaHTTP] == 0 })
	eventually(t, "nothing is left behind", func() bool {
		now := usage(t)
		return now.goroutines <= before.goroutines+5 && now.descriptors <= before.descriptors+5
	})
	_, metrics := r.call("GET", "/metrics", "", "")
	assert.Contains(t, metrics, `watchtower_streams{kind="sse"} 0`)
}

type used struct{ goroutines, descriptors int }

func usage(t testing.TB) used {
	harness.Alone(t)
	files, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return used{runtime.NumGoroutine(), len(files)}
}
