package gateway_test

import (
	"fmt"
	"net"
	nethttp "net/http"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
	"watchtower/config"
	session "watchtower/device"
	"watchtower/internal/harness"
)

// missed returns what channel 5 has kept.
func (r *running) missed() (all []string) {
	r.t.Helper()
	lines := make(chan string, 1000)
	end := r.follow(fmt.Sprintf("channels=5&since=all&linger=false&sender=%d", r.register("").ID), func(b []byte) { lines <- line(r.t, b).data })
	defer end()
	speaker := r.stream()
	speaker.broadcast(5, []byte("that is all"))
	for {
		select {
		case s := <-lines:
			if s == "that is all" {
				return all
			}
			all = append(all, s)
		case <-time.After(patient):
			require.Fail(r.t, "the stream is silent")
		}
	}
}

// isKept waits until the history has got what was said before. It gets messages one after the
// other, so it has the others when a stream on another channel gets a later one.
func (r *running) isKept() {
	r.t.Helper()
	heard := make(chan string, 1)
	id := r.register("").ID
	end := r.follow(fmt.Sprintf("channels=7&linger=false&sender=%d", id), func(b []byte) { heard <- line(r.t, b).data })
	defer end()
	r.post("/broadcast", fmt.Sprintf(`{"sender":%d,"channels":[7],"message":"later"}`, id), nil)
	select {
	case said := <-heard:
		require.Equal(r.t, "later", said)
	case <-time.After(lenient):
		require.Fail(r.t, "the history stands still")
	}
}

func testHistoryMessages(t *testing.T) {
	r := start(t, func(c *config.Config) { c.History.Messages = 2 })
	d := r.wire("udp") // nobody is there on HTTP
	for _, s := range []string{"1", "2", "3"} {
		d.broadcast(5, []byte(s))
		d.next(t)
	}
	r.isKept()
	assert.Equal(t, []string{"2", "3"}, r.missed())
	r = start(t, func(c *config.Config) { c.History.Messages = 0 })
	r.stream().broadcast(5, []byte("1"))
	r.isKept()
	assert.Empty(t, r.missed())
	r.leavesTheList()
}

// leavesTheList sends a message on a channel, leaves it, and waits until the channel is not
// listed any more: listed channels have a member or a history.
func (r *running) leavesTheList() {
	id := r.register("").ID
	end := r.follow(fmt.Sprintf("channels=6&linger=false&sender=%d", id), func([]byte) {})
	status, _ := r.call("POST", fmt.Sprintf("/broadcast?channels=6&sender=%d", id), "text/plain", "x")
	assert.Equal(r.t, 200, status)
	end()
	eventually(r.t, "the channel is not listed", func() bool {
		_, listed := r.call("GET", fmt.Sprintf("/channels?sender=%d", id), "", "")
		return !strings.Contains(listed, "6")
	})
}

func testHistoryAge(t *testing.T) {
	r := start(t, func(c *config.Config) { c.History.Age = short })
	r.stream().broadcast(5, []byte("1"))
	eventually(t, "it is forgotten", func() bool { return len(r.missed()) == 0 })
	r.leavesTheList()
}

func testHistoryBytes(t *testing.T) {
	r := start(t, func(c *config.Config) { c.History.Bytes = 10_000 })
	d := r.stream()
	for range 5 {
		d.broadcast(5, []byte(strings.Repeat("x", 4000)))
		d.next(t)
	}
	assert.Len(t, r.missed(), 2)
}

// What a stream missed before the gateway was restarted is a gap.
func TestARestartIsAGap(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	cfg.HTTP.Listen = harness.FreeAddress(t)
	r := startWith(t, cfg)
	d := r.stream()
	d.broadcast(5, []byte("before"))
	id := ""
	lines := make(chan string, 10)
	reg := r.register("page")
	end := r.follow(fmt.Sprintf("channels=5&since=all&sender=%d", reg.ID), func(b []byte) { lines <- string(b) })
	_, id, _ = strings.Cut(<-lines, `{"id":"`)
	id = id[:26]
	end()
	d.broadcast(5, []byte("missed"))
	r.stop()
	r = startWith(t, cfg)
	end = r.follow(fmt.Sprintf("channels=5&since=%s&sender=%d", id, reg.ID), func(b []byte) { lines <- string(b) })
	defer end()
	assert.Equal(t, `{"type":"gap","channel":5}`+"\n", <-lines)
	r.stream().broadcast(5, []byte("after"))
	assert.Contains(t, <-lines, "after")
}

// A command to open a valve must not arrive tomorrow: it expires in every queue, and over
// every protocol.
func TestATimeToLiveHoldsEverywhere(t *testing.T) {
	t.Parallel()
	r := start(t, nil)
	asleep, c := r.sessionDevice("udp", session.Options{Acknowledge: true})
	overTCP, c2 := r.sessionDevice("tcp", session.Options{})
	require.NoError(t, c.Sleep(soon(t), time.Minute))
	require.NoError(t, c2.Sleep(soon(t), time.Minute))
	host, port, _ := net.SplitHostPort(r.at.MQTT)
	sub := []string{"-V", "mqttv5", "-h", host, "-p", port, "-u", "x", "-P", key, "-i", "away", "-c", "-x", "3600", "-q", "1", "-t", "watchtower/channels/5/#"}
	run(t, program(t, "mosquitto_sub"), append(sub, "-E")...)
	eventually(t, "it is away", func() bool { return r.g.MQTTStats().Connections == 0 }) // or what is on its way to it does not expire

	speaker := r.stream()
	status, body := r.call("POST", "/broadcast", "", fmt.Sprintf(`{"sender":%d,"channels":[5],"message":"over HTTP","ttl":1}`, speaker.id))
	require.Equal(t, 200, status, body)
	pub := []string{"-V", "mqttv5", "-h", host, "-p", port, "-u", "x", "-P", key, "-q", "1", "-t", "watchtower/channels/5/broadcast"}
	run(t, program(t, "mosquitto_pub"), append(pub, "-m", "over MQTT", "-D", "publish", "message-expiry-interval", "1")...)
	assert.Equal(t, "over HTTP", speaker.next(t).data, "who is there has it at once")
	assert.Equal(t, "over MQTT", speaker.next(t).data)
	time.Sleep(2100 * time.Millisecond)
	speaker.broadcast(5, []byte("the end"))
	assert.Equal(t, "the end", speaker.next(t).data)

	require.NoError(t, c.Ping(soon(t)))
	require.NoError(t, c2.Ping(soon(t)))
	assert.Equal(t, "the end", asleep.next(t).data)
	assert.Equal(t, "the end", overTCP.next(t).data)
	assert.Equal(t, []string{"the end"}, r.missed()[:1])
	out := run(t, program(t, "mosquitto_sub"), append(sub, "-C", "1", "-W", "10")...)
	assert.Equal(t, "the end\n", out)
	for _, p := range []bridge.Protocol{viaUDP, viaTCP, viaMQTT} {
		assert.Equal(t, 2, r.dropped(p, bridge.Expired), p.String())
	}
}

func testMailboxTimeout(t *testing.T) {
	const timeout = 15 * short
	r := start(t, func(c *config.Config) { c.HTTP.MailboxTimeout, c.HTTP.Linger = timeout, 0 })
	id := r.register("").ID
	r.post("/channels/join", fmt.Sprintf(`{"sender":%d,"channels":[5]}`, id), nil)
	for began := time.Now(); time.Since(began) < 2*timeout; { // as long as it asks, and while it waits
		status, _ := r.call("GET", fmt.Sprintf("/messages?sender=%d", id), "", "")
		require.Equal(t, 200, status)
		time.Sleep(short)
	}
	status, _ := r.call("GET", fmt.Sprintf("/messages?sender=%d&wait=1", id), "", "")
	require.Equal(t, 200, status)
	eventually(t, "it leaves", func() bool { n, _ := r.g.Hub().Directory().Counts(); return n[viaHTTP] == 0 })
	status, _ = r.call("GET", fmt.Sprintf("/messages?sender=%d", id), "", "")
	assert.Equal(t, 404, status)
}

func testCORSOrigins(t *testing.T) {
	const origin, allowed = "Origin", "Access-Control-Allow-Origin"
	headers := func(r *running, method, path string, header ...string) (int, nethttp.Header) {
		req, err := nethttp.NewRequest(method, "http://"+r.at.HTTP+path, nil)
		require.NoError(t, err)
		for i := 0; i < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		res, err := web.Do(req)
		require.NoError(t, err)
		res.Body.Close()
		return res.StatusCode, res.Header
	}
	for _, c := range []struct {
		listed []string
		from   string
		want   string
	}{
		{nil, "https://dash.lan", ""},
		{[]string{"https://dash.lan"}, "https://dash.lan", "https://dash.lan"},
		{[]string{"https://dash.lan"}, "https://evil.lan", ""},
		{[]string{"https://dash.lan"}, "http://dash.lan", ""},
		{[]string{"https://a.lan", "*"}, "https://evil.lan", "*"},
	} {
		r := start(t, func(cfg *config.Config) { cfg.HTTP.CORSOrigins = c.listed })
		_, h := headers(r, "GET", "/healthz", origin, c.from)
		assert.Equal(t, c.want, h.Get(allowed), c)
		_, h = headers(r, "GET", "/channels?sender=1", origin, c.from)
		assert.Equal(t, c.want, h.Get(allowed), "errors can be read too")
		_, h = headers(r, "OPTIONS", "/broadcast", origin, c.from, "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "authorization,content-type")
		assert.Equal(t, c.want, h.Get(allowed), c)
		if c.want != "" {
			assert.Contains(t, h.Get("Access-Control-Allow-Headers"), "authorization")
		}
		conn, res, err := websocket.DefaultDialer.Dial(fmt.Sprintf("ws://%s/channels/join?channels=5&sender=%d", r.at.HTTP, r.register("").ID), nethttp.Header{origin: {c.from}})
		assert.Equal(t, c.want != "", err == nil, c)
		if conn != nil {
			conn.Close()
		}
		res.Body.Close()
		r.stop()
	}
}
