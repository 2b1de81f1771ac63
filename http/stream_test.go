package http_test

import (
	"context"
	"fmt"
	"net"
	nethttp "net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
	"watchtower/http"
	"watchtower/internal/harness"
)

func TestStreamHeadersAndHeartbeat(t *testing.T) {
	t.Parallel()
	g := start(t, func(_ *bridge.Options, o *options) { o.Heartbeat = 20 * time.Millisecond })
	id, _ := g.register()
	f := g.follow(fmt.Sprintf("channels=5&sender=%d", id))
	assert.Equal(t, "application/x-ndjson", f.resp.Header.Get("Content-Type"))
	assert.Equal(t, "no", f.resp.Header.Get("X-Accel-Buffering"))
	assert.Equal(t, "no-store, no-transform", f.resp.Header.Get("Cache-Control"))
	for range 3 {
		assert.Empty(t, f.line())
	}
}

func TestEcho(t *testing.T) {
	t.Parallel()
	g := start(t)
	a, _ := g.register()
	b, _ := g.register()
	loud := g.follow(fmt.Sprintf("channels=5&sender=%d&echo=true", a))
	quiet := g.follow(fmt.Sprintf("channels=5&sender=%d&echo=false", a))
	other := g.follow(fmt.Sprintf("channels=5&sender=%d", b))
	require.Equal(t, 200, g.post("/broadcast", obj{"sender": a, "channels": []int{5}, "message": "mine"}).status)
	require.Equal(t, 200, g.post("/broadcast", obj{"sender": b, "channels": []int{5}, "message": "theirs"}).status)
	assert.Equal(t, "mine", loud.next()["message"])
	assert.Equal(t, "mine", other.next()["message"])
	for _, f := range []*follower{loud, quiet, other} {
		assert.Equal(t, "theirs", f.next()["message"])
	}
}

func TestEachAttachmentGetsEachMessageInOrder(t *testing.T) {
	t.Parallel()
	g := start(t)
	id, _ := g.register()
	var fs []*follower
	for range 3 {
		fs = append(fs, g.follow(fmt.Sprintf("channels=5,6&sender=%d", id)))
	}
	const n = 300
	for i := range n {
		require.Equal(t, 200, g.post("/broadcast", obj{"sender": id, "channels": []int{5, 6}, "message": i}).status)
	}
	for _, f := range fs {
		for i := range n {
			for _, channel := range []int{5, 6} {
				m := f.next()
				assert.EqualValues(t, i, m["message"])
				assert.EqualValues(t, channel, m["channel"])
			}
		}
	}
}

func TestStreamThatIsNotReadDelaysNobody(t *testing.T) {
	t.Parallel()
	g := start(t, func(_ *bridge.Options, o *options) {
		o.StreamBytes, o.WriteTimeout = 100_000, 3*time.Second
	})
	id, _ := g.register()
	stalled, err := net.Dial("tcp", g.server.Addr().String())
	require.NoError(t, err)
	defer stalled.Close()
	require.NoError(t, stalled.(*net.TCPConn).SetReadBuffer(4096))
	fmt.Fprintf(stalled, "GET /channels/join?channels=5&sender=%d&linger=false HTTP/1.1\r\nHost: x\r\n\r\n", id)
	_, err = stalled.Read(make([]byte, 1))
	require.NoError(t, err)
	good := g.follow(fmt.Sprintf("channels=5&sender=%d", id))

	big := strings.Repeat("x", 60000)
	body := obj{"sender": id, "channels": []int{5}, "message": big}
	left := func() bool {
		n, _ := g.hub.Directory().Counts()
		return n[http.Protocol] == 1
	}
	for begin := time.Now(); !left(); { // again and again: a full queue alone does not end a stream
		require.Less(t, time.Since(begin), 2*time.Minute, "it is ended")
		require.Equal(t, 200, g.post("/broadcast", body).status)
		require.Equal(t, big, good.next()["message"])
		time.Sleep(5 * time.Millisecond)
	}
}

func TestStreamsThatComeAndGoLeaveNothing(t *testing.T) {
	g := start(t)
	id, _ := g.register()
	keep := g.follow(fmt.Sprintf("channels=1&sender=%d", id))
	before := descriptors(t)
	var wg sync.WaitGroup
	for worker := range 10 {
		wg.Go(func() {
			for i := range 50 {
				f := g.follow(fmt.Sprintf("channels=%d,7&sender=%d&linger=%t", 2+worker, id, i%2 == 0))
				f.line()
				f.close()
			}
		})
	}
	wg.Wait()
	harness.Eventually(t, func() bool {
		g.client.CloseIdleConnections()
		n, _ := g.hub.Directory().Counts()
		return n[http.Protocol] <= 1+11 && descriptors(t) <= before+5
	}, "all but the lingering memberships are gone")
	require.Equal(t, 200, g.post("/broadcast", obj{"sender": id, "channels": []int{1}, "message": "x"}).status)
	assert.Equal(t, "x", keep.next()["message"])
}

func descriptors(t *testing.T) int {
	harness.Alone(t)
	files, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return len(files)
}

func TestMembershipLingers(t *testing.T) {
	t.Parallel()
	g := start(t)
	id, _ := g.register()
	f := g.follow(fmt.Sprintf("channels=5&sender=%d", id))
	f.close()
	body := obj{"sender": id, "channels": []int{5}, "message": "x"}
	for i := 0; g.dropped(bridge.Away) == 0; i++ {
		require.Less(t, i, 10000, "what it missed is counted")
		require.Equal(t, 200, g.post("/broadcast", body).status, "it is a member still")
	}
	require.Equal(t, 200, g.post("/send", obj{"sender": id, "channels": []int{5}, "receivers": []uint32{id}, "message": "x"}).status)
	lost := slices.DeleteFunc(g.hub.Registry().Losses(10), func(l bridge.SenderLoss) bool {
		return l.Why == bridge.Disconnected // what its stream had not written when it ended
	})
	require.Len(t, lost, 1)
	assert.EqualValues(t, id, lost[0].ID)
	assert.Equal(t, bridge.Away, lost[0].Why)
	assert.EqualValues(t, 2, lost[0].N, "of the broadcast, and of the send")
	assert.Equal(t, 2, g.dropped(bridge.Away))
}

// Of many whose streams have ended all are counted who miss a message, and the first are named.
func TestManyLinger(t *testing.T) {
	t.Parallel()
	g := start(t)
	speaker, _ := g.register()
	keep := g.follow(fmt.Sprintf("channels=5&sender=%d", speaker))
	const all = 70
	var gone []*follower
	for range all {
		id, _ := g.register()
		gone = append(gone, g.follow(fmt.Sprintf("channels=5&sender=%d", id)))
	}
	for _, f := range gone {
		f.close()
	}
	harness.Eventually(t, func() bool {
		n, _ := g.hub.Directory().Counts()
		before := g.dropped(bridge.Away)
		require.Equal(t, 200, g.post("/broadcast", obj{"sender": speaker, "channels": []int{5}, "message": "x"}).status)
		keep.next()
		return n[http.Protocol] == all+1 && g.dropped(bridge.Away)-before == all
	}, "all are missed")
	named := 0
	for _, l := range g.hub.Registry().Losses(10 * all) {
		if l.Why == bridge.Away {
			named++
		}
	}
	assert.Equal(t, 64, named)
}

func TestShutdownEndsStreamsProperly(t *testing.T) {
	t.Parallel()
	g := start(t)
	id, _ := g.register()
	f := g.follow(fmt.Sprintf("channels=5&sender=%d", id))
	idle, err := net.Dial("tcp", g.server.Addr().String())
	require.NoError(t, err)
	defer idle.Close()
	const n = 100
	for i := range n {
		require.Equal(t, 200, g.post("/broadcast", obj{"sender": id, "channels": []int{5}, "message": i}).status)
	}
	began := time.Now()
	g.stop()
	assert.Less(t, time.Since(began), 4*time.Second, "nobody waits for an idle connection")
	rest, err := f.rest()
	require.NoError(t, err, "the last chunk arrives")
	assert.Equal(t, n, strings.Count(rest, `"message"`), "and all before it")
}

func TestQuiesce(t *testing.T) {
	t.Parallel()
	g := start(t)
	id, _ := g.register()
	f := g.follow(fmt.Sprintf("channels=5&sender=%d", id))
	kept, err := net.Dial("tcp", g.server.Addr().String())
	require.NoError(t, err)
	defer kept.Close()
	fmt.Fprint(kept, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
	b := make([]byte, 4096)
	_, err = kept.Read(b)
	require.NoError(t, err)

	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	g.server.Quiesce(ctx)
	require.NoError(t, ctx.Err())
	fmt.Fprint(kept, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
	n, err := kept.Read(b)
	require.NoError(t, err)
	assert.Contains(t, string(b[:n]), "HTTP/1.1 503")
	assert.Contains(t, string(b[:n]), "Connection: close")
	assert.Contains(t, string(b[:n]), "urn:watchtower:problem:stopping")
	_, err = nethttp.Get(g.url + "/healthz")
	assert.Error(t, err, "no new connections")

	hold := g.hub.Holds().New(func() {})
	a := &bridge.Attachment{Via: viaUDP, Broadcasts: true}
	require.NoError(t, g.hub.Attach(hold.Sender(), 5, a))
	_, err = g.hub.Publish(hold.Sender(), bridge.Publication{Channels: []bridge.Channel{5}, Content: bridge.Content{Data: []byte("late")}})
	require.NoError(t, err)
	assert.Equal(t, "late", f.next()["message"], "streams go on")
}

func TestHTTP10Stream(t *testing.T) {
	t.Parallel()
	g := start(t)
	id, _ := g.register()
	c, err := net.Dial("tcp", g.server.Addr().String())
	require.NoError(t, err)
	defer c.Close()
	fmt.Fprintf(c, "GET /channels/join?channels=5&sender=%d HTTP/1.0\r\n\r\n", id)
	f := &follower{t: t, lines: newReader(c)}
	for f.line() != "\r" {
	}
	require.Equal(t, 200, g.post("/broadcast", obj{"sender": id, "channels": []int{5}, "message": "x"}).status)
	assert.Equal(t, "x", f.next()["message"])
}
