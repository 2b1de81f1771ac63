package gateway_test

import (
	"fmt"
	"io"
	"net"
	nethttp "net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
	"watchtower/config"
)

// shareReceiver takes callbacks, and says what came.
func shareReceiver(t *testing.T) (url string, got chan string) {
	got = make(chan string, 1000)
	s := httptest.NewServer(nethttp.HandlerFunc(func(_ nethttp.ResponseWriter, req *nethttp.Request) {
		body, _ := io.ReadAll(req.Body)
		got <- string(body)
	}))
	t.Cleanup(s.Close)
	return s.URL, got
}

// hanging is a receiver that accepts all requests and answers none. It counts them.
func hanging(t *testing.T) (url string, requests *atomic.Int32) {
	requests = new(atomic.Int32)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer conn.Close()
				if _, err := conn.Read(make([]byte, 10)); err == nil {
					requests.Add(1)
				}
				_, _ = io.Copy(io.Discard, conn) // until the gateway gives up
			})
		}
	})
	t.Cleanup(func() { l.Close(); serving.Wait() })
	return "http://" + l.Addr().String(), requests
}

// spread joins callbacks of new senders, many each, on channels from 100 on, to
// url and a path for each. It returns what broadcasts to all of them.
func (r *running) spread(senders, each int, url string) (say func(message string)) {
	ids := make([]uint32, senders)
	lists := make([]string, senders)
	var joining sync.WaitGroup
	slots := make(chan struct{}, 8)
	for i := range senders {
		slots <- struct{}{}
		joining.Go(func() {
			defer func() { <-slots }()
			ids[i] = r.register("").ID
			var channels []string
			for c := range each {
				channel := 100 + i*each + c
				r.post("/channels/join/async", fmt.Sprintf(`{"sender":%d,"channels":[%d],"callback_url":"%s/%d"}`, ids[i], channel, url, channel), nil)
				channels = append(channels, fmt.Sprint(channel))
			}
			lists[i] = strings.Join(channels, ",")
		})
	}
	joining.Wait()
	return func(message string) {
		for i, id := range ids {
			r.post("/broadcast", fmt.Sprintf(`{"sender":%d,"channels":[%s],"message":%q}`, id, lists[i], message), nil)
		}
	}
}

// hears requires that a sender's callback gets its messages, each soon.
func (r *running) hears(id uint32, got chan string, messages int) {
	r.t.Helper()
	for i := range messages {
		began := time.Now()
		r.say(id, fmt.Sprintf("healthy %d %s", i, strings.Repeat("x", 9000)))
		select {
		case body := <-got:
			assert.Contains(r.t, body, fmt.Sprintf("healthy %d", i))
			assert.Less(r.t, time.Since(began), 12*time.Second, "a receiver that hangs holds up an attempt for 15")
			// Until the gateway has read the answer, the callback has its first message and
			// another, which is more than its share while the memory is full.
			eventually(r.t, "the gateway knows that it was taken", func() bool {
				_, list := r.call("GET", fmt.Sprint("/callbacks?sender=", id), "", "")
				return strings.Contains(list, "last_delivered_at") && strings.Contains(list, `"waiting":0`)
			})
		case <-time.After(patient):
			require.FailNow(r.t, "a healthy callback got nothing", "message %d: %d limit, %d queue_full", i,
				r.dropped(viaCallback, bridge.Limit), r.dropped(viaCallback, bridge.QueueFull))
		}
	}
}

// callbackBytes returns how many bytes callbacks hold.
func (r *running) callbackBytes() (n int) {
	_, metrics := r.call("GET", "/metrics", "", "")
	_, row, _ := strings.Cut(metrics, "\nwatchtower_callback_bytes ")
	var bytes float64
	_, err := fmt.Sscan(row, &bytes)
	require.NoError(r.t, err)
	return int(bytes)
}

// URLs at which nobody listens fill only the memory of their own sender's callbacks.
func TestDeadCallbacksTakeOnlyTheirSendersShare(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *config.Config) { c.Callbacks.Bytes, c.ShutdownTimeout = 4<<20, time.Second })
	url, got := shareReceiver(t)
	healthy, _ := r.callbackTo(url)
	say := r.spread(1, 100, "http://127.0.0.1:9")
	filled := func() bool { return r.dropped(viaCallback, bridge.Limit)+r.dropped(viaCallback, bridge.QueueFull) > 0 }
	for i := 0; !filled() || i < 10; i++ {
		require.Less(t, i, 100, "the memory was never full")
		say(strings.Repeat("x", 8000))
	}
	r.hears(healthy, got, 10)
	eventually(t, "room was made", func() bool { return r.dropped(viaCallback, bridge.Limit) > 0 })
	assert.Contains(t, r.log.String(), "setting=callbacks.bytes")
	assert.LessOrEqual(t, r.callbackBytes(), 4<<20)
}

// Dead URLs of many senders, each of whom holds as much as everybody, leave a
// callback with nothing waiting its try.
func TestDeadCallbacksOfManySenders(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *config.Config) { c.Callbacks.Bytes, c.ShutdownTimeout = 1<<20, time.Second })
	url, got := shareReceiver(t)
	healthy, _ := r.callbackTo(url)
	say := r.spread(100, 1, "http://127.0.0.1:9")
	for range 3 {
		say(strings.Repeat("x", 8000))
	}
	eventually(t, "the memory is full", func() bool { return r.dropped(viaCallback, bridge.Limit)+r.dropped(viaCallback, bridge.QueueFull) > 0 })
	r.hears(healthy, got, 10)
	assert.LessOrEqual(t, r.callbackBytes(), 1<<20)
}

func TestHangingReceiversDelayNobody(t *testing.T) {
	t.Parallel()
	hangingReceivers(t, 1)
}

// hangingReceivers has so many times a hundred hang.
func hangingReceivers(t *testing.T, n int) {
	for name, test := range map[string]struct{ senders, each, concurrency int }{
		"of one sender":    {1, 100 * n, 100 * n},
		"of many senders":  {10 * n, 10, 100 * n},
		"of all together":  {10 * n, 1, 10 * n}, // one each: all have the same share
		"one at a time":    {3, 1, 1},
		"more than can be": {10, 20 * n, 10 * n},
	} {
		t.Run(name, func(t *testing.T) {
			r := start(t, func(c *config.Config) {
				c.Limits.SenderCallbacks, c.Callbacks.Concurrency, c.ShutdownTimeout = 1000, test.concurrency, time.Second
			})
			url, got := shareReceiver(t)
			healthy, _ := r.callbackTo(url)
			r.hears(healthy, got, 1)
			hang, requests := hanging(t)
			say := r.spread(test.senders, test.each, hang)
			t.Cleanup(r.stop)
			say("x")
			few := min(test.senders*test.each, test.concurrency-test.concurrency/10)
			eventually(t, "they hang", func() bool { return int(requests.Load()) >= few })
			r.hears(healthy, got, 5)
		})
	}
}

// A sender whose receivers hang still gets the messages of its own healthy callback.
func TestHangingReceiversOfOnesOwn(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *config.Config) { c.Callbacks.Concurrency, c.ShutdownTimeout = 20, time.Second })
	url, got := shareReceiver(t)
	hang, requests := hanging(t)
	id, _ := r.callbackTo(url)
	var channels []string
	for c := range 50 {
		r.post("/channels/join/async", fmt.Sprintf(`{"sender":%d,"channels":[%d],"callback_url":"%s/%d"}`, id, 100+c, hang, c), nil)
		channels = append(channels, fmt.Sprint(100+c))
	}
	t.Cleanup(r.stop)
	r.post("/broadcast", fmt.Sprintf(`{"sender":%d,"channels":[%s],"message":"x"}`, id, strings.Join(channels, ",")), nil)
	eventually(t, "they hang", func() bool { return requests.Load() >= 18 })
	r.say(id, "mine")
	select {
	case body := <-got:
		assert.Contains(t, body, "mine")
	case <-time.After(patient):
		require.Fail(t, "its own callback got nothing")
	}
}

// An attempt that was ended to make room is repeated, and does not count as an attempt.
func TestWhatGaveWayIsTriedAgain(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *config.Config) {
		c.Callbacks.Concurrency, c.Callbacks.Retries, c.Callbacks.RetryGap, c.ShutdownTimeout = 1, 0, short, time.Second
	})
	url, got := shareReceiver(t)
	healthy, _ := r.callbackTo(url)
	came := make(chan string, 10)
	slow := httptest.NewServer(nethttp.HandlerFunc(func(_ nethttp.ResponseWriter, req *nethttp.Request) {
		_, _ = io.Copy(io.Discard, req.Body)
		came <- req.Header.Get("webhook-id")
		if len(came) == 1 {
			<-req.Context().Done()
		}
	}))
	t.Cleanup(slow.Close)
	id := r.register("").ID
	r.post("/channels/join/async", fmt.Sprintf(`{"sender":%d,"channels":[6],"callback_url":%q}`, id, slow.URL), nil)
	r.post("/broadcast", fmt.Sprintf(`{"sender":%d,"channels":[6],"message":"x"}`, id), nil)
	eventually(t, "it hangs", func() bool { return len(came) == 1 })
	r.hears(healthy, got, 1)
	eventually(t, "it comes again", func() bool { return len(came) == 2 })
	assert.Equal(t, <-came, <-came)
	eventually(t, "it is taken", func() bool { return r.view(id).Waiting == 0 })
	assert.Empty(t, r.view(id).Failed)
	_, metrics := r.call("GET", "/metrics", "", "")
	assert.Contains(t, metrics, `watchtower_callbacks_total{outcome="gave_way"} 1`)
}
