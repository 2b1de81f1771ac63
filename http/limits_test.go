package http_test

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
	"watchtower/internal/harness"
)

// A stream whose client reads too slowly is told why it ends, and misses nothing when it
// comes back.
func TestASlowStreamIsToldWhy(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"application/x-ndjson", "text/event-stream", "websocket"} {
		t.Run(kind, func(t *testing.T) {
			g := start(t, func(_ *bridge.Options, o *options) { o.StreamQueue, o.WriteTimeout = 20, time.Hour })
			id, _ := g.register()
			other, _ := g.register()
			good := g.follow(fmt.Sprintf("channels=5&sender=%d", other))
			conn, err := net.Dial("tcp", g.server.Addr().String())
			require.NoError(t, err)
			defer conn.Close()
			require.NoError(t, conn.(*net.TCPConn).SetReadBuffer(64<<10)) // so that it is slow sooner
			headers := "Accept: " + kind + "\r\n"
			if kind == "websocket" {
				headers = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
			}
			fmt.Fprintf(conn, "GET /channels/join?channels=5&sender=%d HTTP/1.1\r\nHost: x\r\n%s\r\n", id, headers)
			in := bufio.NewReaderSize(conn, 1<<20)
			for line := "x"; line != "\r\n"; {
				line, err = in.ReadString('\n')
				require.NoError(t, err)
			}
			said := 0
			for big := strings.Repeat("x", 50_000); g.dropped(bridge.QueueFull) == 0; said++ {
				require.Less(t, said, 2000)
				g.say(other, fmt.Sprint(said, " ", big), 5)
				good.next()
			}
			g.say(other, "for the others", 5)
			assert.Equal(t, "for the others", good.next()["message"])

			require.NoError(t, conn.SetReadDeadline(time.Now().Add(30*time.Second)))
			all := make([]byte, 0, 50<<20)
			for buf := make([]byte, 1<<20); err == nil; {
				var n int
				n, err = in.Read(buf)
				all = append(all, buf[:n]...)
				if kind != "websocket" && strings.HasSuffix(string(buf[:n]), "0\r\n\r\n") {
					break
				}
			}
			got := string(all)
			heard := strings.Count(got, `"type":"broadcast"`)
			assert.Less(t, heard, said)
			assert.Positive(t, heard)
			contains := func(what string) bool { return strings.Contains(got, what) } // got is too long to print
			assert.True(t, contains(fmt.Sprintf(`"message":"%d xxx`, heard-1)), "what waited was written")
			switch kind {
			case "websocket":
				code := websocket.FormatCloseMessage(websocket.CloseTryAgainLater, "")
				assert.True(t, contains(string(code)+"more messages waited than http.stream_queue allows"))
			case "text/event-stream":
				assert.True(t, contains(`data: {"type":"end","reason":"too_slow","detail":"more`))
			default:
				assert.True(t, contains(`{"type":"end","reason":"too_slow","detail":"more`))
			}
		})
	}
}

func TestStreamsOfASenderAreBounded(t *testing.T) {
	t.Parallel()
	g := start(t, func(_ *bridge.Options, o *options) { o.SenderStreams = 2 })
	id, _ := g.register()
	other, _ := g.register()
	query := fmt.Sprintf("channels=5&sender=%d", id)
	first := g.follow(query)
	g.live(query)
	a := g.do("GET", "/channels/join?"+query, "")
	problem(t, a, 429, "too-many-streams", "sender")
	assert.Equal(t, "1", a.header.Get("Retry-After"))
	g.follow(fmt.Sprintf("channels=5&sender=%d", other)).close()
	metrics := g.do("GET", "/metrics", "").body
	assert.Contains(t, metrics, `watchtower_streams{kind="ndjson"} `)
	assert.Contains(t, metrics, `watchtower_streams{kind="websocket"} 1`)
	first.close()
	harness.Eventually(t, func() bool {
		resp, err := g.client.Get(g.url + "/channels/join?" + query)
		require.NoError(t, err)
		defer resp.Body.Close()
		return resp.StatusCode == 200
	}, "there is room again")
}

func TestRequestsOfASenderAreBounded(t *testing.T) {
	t.Parallel()
	var c clock
	g := start(t, func(_ *bridge.Options, o *options) {
		o.Clock, o.SenderRequests = c.now, 5
	})
	id, _ := g.register()
	other, _ := g.register()
	l := g.live(fmt.Sprintf("channels=5&sender=%d", id)) // the first
	ask := func(id uint32) answer { return g.do("GET", fmt.Sprintf("/channels?sender=%d", id), "") }
	for range 4 {
		require.Equal(t, 200, ask(id).status)
	}
	a := ask(id)
	problem(t, a, 429, "too-many-requests", "sender")
	assert.Equal(t, "1", a.header.Get("Retry-After"))
	problem(t, g.post("/broadcast", obj{"sender": id, "channels": []int{5}, "message": "x"}), 429, "too-many-requests", "sender")
	l.say(obj{"type": "broadcast", "channels": []int{5}, "message": "x"})
	assert.EqualValues(t, 429, l.next()["error"].(obj)["status"], "nor by a WebSocket")
	assert.Equal(t, 200, ask(other).status, "another is not to blame")
	c.ns.Add(int64(200 * time.Millisecond))
	assert.Equal(t, 200, ask(id).status, "one more after a while")
	assert.Equal(t, 429, ask(id).status)
}

func TestTheWayThroughTheBusIsTimed(t *testing.T) {
	t.Parallel()
	g := start(t)
	id, _ := g.register()
	f := g.follow(fmt.Sprintf("channels=5&sender=%d", id))
	g.say(id, "x", 5)
	f.next()
	harness.Eventually(t, func() bool {
		return strings.Contains(g.do("GET", "/metrics", "").body, `watchtower_bus_seconds_count{protocol="http"} 1`)
	}, "the histogram has it")
	assert.Contains(t, g.do("GET", "/metrics", "").body, `watchtower_bus_seconds_bucket{protocol="http",le="5"} 1`)
}

func TestReady(t *testing.T) {
	t.Parallel()
	var broken atomic.Pointer[error]
	g := start(t, func(_ *bridge.Options, o *options) {
		o.Ready = func() error {
			if err := broken.Load(); err != nil {
				return *err
			}
			return nil
		}
	})
	assert.Equal(t, 200, g.do("GET", "/readyz", "").status)
	full := errors.New("senders cannot be written to disk: no space left on device")
	broken.Store(&full)
	a := g.do("GET", "/readyz", "")
	problem(t, a, 503, "not-ready", "")
	assert.Contains(t, a.body, "no space left on device")
	assert.Contains(t, g.do("GET", "/metrics", "").body, "\nwatchtower_ready 0\n")
	assert.Equal(t, 200, g.do("GET", "/healthz", "").status, "it runs all the same")
	broken.Store(nil)
	assert.Equal(t, 200, g.do("GET", "/readyz", "").status)
	assert.Contains(t, g.do("GET", "/metrics", "").body, "\nwatchtower_ready 1\n")
}
