package gateway_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
	"watchtower/config"
	"watchtower/internal/harness"
)

// memory is what this process holds: the heap that is alive, and stacks.
func memory(t testing.TB) int {
	heap := harness.Heap(t)
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return heap + int(m.StackInuse)
}

// besiege opens many connections from several addresses. Each sends something and stays
// open. The gateway may refuse them.
func (r *running) besiege(n, addresses int, addr string, say func(i int) []byte) []net.Conn {
	r.t.Helper()
	conns := make([]net.Conn, n)
	var all sync.WaitGroup
	for worker := range 8 {
		all.Go(func() {
			for i := worker; i < n; i += 8 {
				d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 9, byte(1+i%addresses))}, Timeout: patient}
				conn, err := d.Dial("tcp", addr)
				if !assert.NoError(r.t, err) {
					return
				}
				conns[i] = conn
				if say != nil {
					_ = conn.SetWriteDeadline(time.Now().Add(200 * time.Millisecond)) // it may not be read
					_, _ = conn.Write(say(i))
				}
			}
		})
	}
	all.Wait()
	r.t.Cleanup(func() {
		for _, conn := range conns {
			if conn != nil {
				conn.Close()
			}
		}
	})
	return conns
}

// serves checks that devices can register and hear each other.
func (r *running) serves() {
	r.t.Helper()
	a, b := r.wire("tcp"), r.stream()
	a.broadcast(5, []byte("x"))
	assert.Equal(r.t, "x", b.next(r.t).data)
	_, err := r.pahoClient(nil)
	assert.NoError(r.t, err)
}

// Incomplete messages of known senders have a limit for each sender, and one for all.
func TestUnfinishedWebSocketMessages(t *testing.T) {
	r := start(t, func(c *config.Config) { c.Limits.UnfinishedBytes = 16 << 20 })
	upgrade := "GET /channels/join?channels=5&sender=%d HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
	message := "\x81\xff\x00\x00\x00\x00\x00\x06\xd0\x00\x00\x00\x00\x00" + strings.Repeat("x", 440_000) // of 446,464
	ids := make([]uint32, 20)
	for i := range ids {
		ids[i] = r.register("").ID
	}
	before := memory(t)
	conns := r.besiege(500, 1, r.at.HTTP, func(i int) []byte { return fmt.Appendf(nil, upgrade, ids[i%len(ids)]) })
	for _, conn := range conns {
		_ = conn.SetDeadline(time.Now().Add(200 * time.Millisecond))
		_, _ = io.WriteString(conn, message)
	}
	eventually(t, "some are refused", func() bool { return r.dropped(viaHTTP, bridge.Limit) > 400 })
	held := memory(t) - before
	_, unfinished := r.g.Intake().Held()
	t.Logf("%d KiB held, %d KiB counted", held>>10, unfinished>>10)
	assert.Less(t, held, 64<<20)
	assert.LessOrEqual(t, unfinished, 16<<20)
	said := 0
	for _, conn := range conns {
		_ = conn.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
		b, _ := io.ReadAll(conn)
		if strings.Contains(string(b), "\x03\xf5too many messages are not complete") { // 1013
			said++
		}
	}
	assert.Positive(t, said)
	for _, conn := range conns {
		conn.Close()
	}
	eventually(t, "all is given back", func() bool { _, n := r.g.Intake().Held(); return n == 0 })
	r.serves()
}

// raw sends a request and returns the answer that comes within a while.
func (r *running) raw(conn net.Conn, request string) string {
	r.t.Helper()
	_, _ = io.WriteString(conn, request) // it may be answered before it is complete
	_ = conn.SetReadDeadline(time.Now().Add(patient))
	b := make([]byte, 4096)
	n, err := conn.Read(b)
	require.NoError(r.t, err)
	return string(b[:n])
}

// A body is refused as soon as the refusal is certain, before all of it has come.
func TestBodiesAreRefusedEarly(t *testing.T) {
	t.Parallel()
	r := start(t, nil)
	post := func(path, begin string, n int) string {
		return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", path, n, begin)
	}
	chunked := func(path, begin string) string {
		return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n", path, len(begin), begin)
	}
	long := strings.Repeat("x", 5000)
	id := r.register("").ID
	for name, test := range map[string]struct{ request, status, says string }{
		"a registration that says its length":  {post("/register", "{", 4097), "413", "4096 bytes"},
		"a registration that does not":         {chunked("/register", `{"name":"`+long), "413", "4096 bytes"},
		"an unknown sender":                    {post("/broadcast", `{"sender":9,"message":"`+long, 400_000), "401", "9 is unknown"},
		"an unknown sender behind the message": {post("/broadcast", `{"message":"`+long+`","sender":9,`+strings.Repeat(" ", 20_000), 400_000), "401", "9 is unknown"},
		"an unknown sender in the query":       {strings.Replace(post("/broadcast?channels=5&sender=9", long, 60_000), "\r\n\r\n", "\r\nContent-Type: text/plain\r\n\r\n", 1), "401", "9 is unknown"},
		"a token that is not its":              {strings.Replace(post("/broadcast", fmt.Sprintf(`{"sender":%d,"message":"`, id)+long, 400_000), "\r\n\r\n", "\r\nAuthorization: Bearer wt_no\r\n\r\n", 1), "401", "is not the token"},
	} {
		t.Run(name, func(t *testing.T) {
			answer := r.raw(r.dialFrom(1, r.at.HTTP), test.request)
			assert.Contains(t, answer, "HTTP/1.1 "+test.status)
			assert.Contains(t, answer, test.says)
		})
	}
	_, unfinished := r.g.Intake().Held()
	assert.Zero(t, unfinished)
}

// A client that has its connection closed after each request, and is refused while it still sends,
// sees why.
func TestARefusalIsSeen(t *testing.T) {
	t.Parallel()
	r := start(t, nil)
	conn := r.dialFrom(1, r.at.HTTP)
	const length, part = 200_000, 10_000
	begin := `{"sender":9,"message":"` + strings.Repeat("x", part)
	_, err := fmt.Fprintf(conn, "POST /broadcast HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", length, begin)
	require.NoError(t, err)
	answer := bufio.NewReader(conn)
	_, err = answer.Peek(1)
	require.NoError(t, err)
	for left := length - len(begin); left > 0; left -= part {
		_, err = conn.Write([]byte(strings.Repeat("x", min(part, left))))
		require.NoError(t, err, "%d bytes are left", left)
	}
	all, err := io.ReadAll(answer)
	require.NoError(t, err)
	assert.Contains(t, string(all), "HTTP/1.1 401")
	assert.Contains(t, string(all), "9 is unknown")
}

// A long JSON body is read at its sender's cost where that is found, and else at that
// of all strangers.
func TestWhoPaysForABody(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *config.Config) { c.Limits.StrangersBytes = 512 << 10 })
	reg := r.register("")
	d := r.stream()
	message := strings.Repeat("x", 60_000)
	first := fmt.Sprintf(`{"sender":%d,"channels":[5],"message":%q}`, d.id, message)
	last := fmt.Sprintf(`{"message":%q,"channels":[5],"sender":%d}`, message, d.id)
	say := func(body string, header ...string) (int, string) {
		status, answer := r.call("POST", "/broadcast", "application/json", body, header...)
		if status == 200 {
			assert.Equal(t, message, d.next(t).data)
		}
		return status, answer
	}
	for _, body := range []string{first, last} {
		status, answer := say(body)
		require.Equal(t, 200, status, answer)
	}
	// Somebody holds what one address may borrow.
	hog := r.dialFrom(1, r.at.HTTP)
	_, err := fmt.Fprintf(hog, "POST /broadcast HTTP/1.1\r\nHost: x\r\nContent-Length: 400000\r\n\r\n{\"message\":\"%s", strings.Repeat("x", 50_000))
	require.NoError(t, err)
	eventually(t, "it is charged", func() bool { n, _ := r.g.Intake().Held(); return n > 60<<10 })
	status, answer := say(first)
	assert.Equal(t, 200, status, answer)
	status, answer = say(last)
	assert.Equal(t, 503, status)
	assert.Contains(t, answer, `put \"sender\" first, or carry a token`)
	assert.Contains(t, answer, "urn:watchtower:problem:busy")
	status, _ = say(strings.Replace(last, fmt.Sprintf(`"sender":%d`, d.id), fmt.Sprintf(`"sender":%d`, reg.ID), 1), "Authorization", "Bearer "+reg.Token)
	assert.Equal(t, 400, status, "it was read to its end: this sender has not joined")
	hog.Close()
	eventually(t, "it is given back", func() bool { status, _ := say(last); return status == 200 })
	eventually(t, "nothing is held of what is complete", func() bool { _, n := r.g.Intake().Held(); return n == 0 })
}

// A request that comes byte by byte has one deadline for the whole.
func TestADripEnds(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *config.Config) {
		c.HTTP.ReadTimeout, c.Wire.FrameTimeout, c.MQTT.ConnectTimeout = time.Second, time.Second, time.Second
	})
	id := r.register("").ID
	web, tcp, mqtt := func() net.Conn { return r.dialFrom(1, r.at.HTTP) }, func() net.Conn { return r.dialFrom(1, r.at.TCP) }, func() net.Conn { return r.dialFrom(1, r.at.MQTT) }
	upgraded := func() net.Conn {
		conn := web()
		answer := r.raw(conn, fmt.Sprintf("GET /channels/join?channels=5&sender=%d HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", id))
		require.Contains(t, answer, " 101 ")
		return conn
	}
	registered := func() net.Conn {
		conn := tcp()
		require.True(t, r.enters(conn, viaTCP))
		return conn
	}
	for name, test := range map[string]struct {
		dial  func() net.Conn
		begin string
	}{
		"a body":              {web, fmt.Sprintf("POST /broadcast HTTP/1.1\r\nHost: x\r\nContent-Length: 4000\r\n\r\n{\"sender\":%d,\"message\":\"", id)},
		"a WebSocket message": {upgraded, "\x81\xfe\x0f\xff\x00\x00\x00\x00"},
		"a stranger's frame":  {tcp, "K\xff"},
		"a registered frame":  {registered, string(basicFrame("M", uint32(1), uint32(5), uint32(60_000)))},
		"a CONNECT":           {mqtt, "\x10\xff\x1f"},
		"a header":            {web, "GET /channels?sender="},
	} {
		t.Run(name, func(t *testing.T) {
			begun, conn := time.Now(), test.dial()
			_, err := io.WriteString(conn, test.begin)
			require.NoError(t, err)
			drip := time.NewTicker(20 * time.Millisecond)
			defer drip.Stop()
			for ended := false; !ended; <-drip.C {
				require.Less(t, time.Since(begun), patient)
				_, err := io.WriteString(conn, "1")
				_ = conn.SetReadDeadline(time.Now().Add(time.Millisecond))
				_, readErr := io.ReadAll(conn)
				ended = err != nil || readErr == nil || !os.IsTimeout(readErr)
			}
			assert.Greater(t, time.Since(begun), 900*time.Millisecond)
		})
	}
}

// A proxy has any number of connections, and each of its clients its own.
func TestStreamsBehindAProxyCountForTheirClients(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *config.Config) {
		c.Limits.ConnectionsPerAddress = 2
		c.HTTP.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
	})
	id := r.register("").ID
	join := func(client string) string {
		return r.raw(r.dialFrom(1, r.at.HTTP), fmt.Sprintf("GET /channels/join?channels=5&sender=%d HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: %s\r\n\r\n", id, client))[:12]
	}
	for _, client := range []string{"192.0.2.1", "192.0.2.2", "192.0.2.3"} {
		for range 2 {
			require.Equal(t, "HTTP/1.1 200", join(client))
		}
	}
	assert.Equal(t, "HTTP/1.1 429", join("192.0.2.2"))
	assert.Contains(t, r.log.String(), "address=192.0.2.2")
}
