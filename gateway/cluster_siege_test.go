package gateway_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	nethttp "net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
	"watchtower/config"
	small "watchtower/device"
	"watchtower/http"
	"watchtower/mqtt"
)

// besieged are gateways of a space on whose channel 5 somebody speaks by every protocol at every
// gateway, and somebody listens at every gateway, while something happens to what is between them.
type besieged struct {
	t        *testing.T
	gateways []*running
	over     chan struct{}
	speaking sync.WaitGroup

	mu    sync.Mutex
	said  map[string]*atomic.Int64
	heard []*hearing
}

// hearing is what one listener has heard of each speaker: all before a number.
type hearing struct {
	b    *besieged
	name string
	mu   sync.Mutex
	next map[string]int64
	own  bool      // it hears MQTT clients' own topics, too
	last time.Time // it heard anything
	late bool      // it came later: what was said before it is not missing

	holes   int64      // messages that it has not heard
	counted func() int // what its gateway has dropped of its protocol, since queues were full
}

func (h *hearing) hears(text string) {
	who, number, found := strings.Cut(text, " ")
	n, err := strconv.ParseInt(number, 10, 64)
	if !found || err != nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	switch want, known := h.next[who]; {
	case n < want:
		h.b.t.Errorf("%s hears %s's %d, not %d", h.name, who, n, want)
		return
	case known || !h.late:
		h.holes += n - want
	}
	h.next[who], h.last = n+1, time.Now()
}

// line takes a line of a stream.
func (h *hearing) line(b []byte) {
	var m struct{ Message string }
	if json.Unmarshal(b, &m) == nil {
		h.hears(m.Message)
	}
}

func (b *besieged) listener(name string, counted func() int) *hearing {
	h := &hearing{b: b, name: name, next: map[string]int64{}, counted: counted}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.heard = append(b.heard, h)
	return h
}

// speaks calls say with one text after the other, until the siege is over.
func (b *besieged) speaks(who string, every time.Duration, say func(text string) error) {
	said := new(atomic.Int64)
	b.mu.Lock()
	b.said[who] = said
	b.mu.Unlock()
	b.speaking.Go(func() {
		t := time.NewTicker(every)
		defer t.Stop()
		for {
			select {
			case <-b.over:
				return
			case <-t.C:
				if err := say(fmt.Sprintf("%s %d", who, said.Load())); err != nil {
					b.t.Errorf("%s: %v", who, err)
					return
				}
				said.Add(1)
			}
		}
	})
}

// besiege starts gateways of a space, with a URL for each, and those who speak and listen.
func besiege(t *testing.T, every time.Duration, urls ...string) *besieged {
	b := &besieged{t: t, over: make(chan struct{}), said: map[string]*atomic.Int64{}}
	for i, url := range urls {
		b.gateways = append(b.gateways, together(t, url, fmt.Sprintf("g%d", i), func(c *config.Config) {
			c.History.Messages = 10_000
			if siegeIsSlow {
				roomy(c) // so that there are no holes
			}
		}))
	}
	meetAll(t, b.gateways)
	var speak []func()
	for i, r := range b.gateways {
		listener := r.register(fmt.Sprintf("listener%d", i))
		stream := b.listener(fmt.Sprintf("the stream at g%d", i), func() int { return r.dropped(http.Protocol, bridge.QueueFull) })
		r.follow(fmt.Sprintf("channels=5&sender=%d", listener.ID), stream.line)
		speak = append(speak, b.mqtt(i, every), b.device(i, every), b.web(i, every))
	}
	for _, begin := range speak { // once everybody listens
		begin()
	}
	t.Cleanup(b.end)
	return b
}

// end ends the speaking.
func (b *besieged) end() {
	select {
	case <-b.over:
	default:
		close(b.over)
	}
	b.speaking.Wait()
	if !b.t.Failed() {
		return
	}
	for i, r := range b.gateways {
		_, metrics := r.call("GET", "/metrics", "", "")
		for line := range strings.Lines(metrics) {
			if strings.HasPrefix(line, "watchtower_drops_total") && !strings.HasSuffix(line, " 0\n") {
				b.t.Logf("g%d: %s", i, strings.TrimSpace(line))
			}
		}
	}
}

// mqtt has an MQTT client listen, and returns what has it speak at QoS 1: on the channel, and on a
// topic of its own.
func (b *besieged) mqtt(i int, every time.Duration) (speak func()) {
	h := b.listener(fmt.Sprintf("the MQTT client at g%d", i), func() int { return b.gateways[i].dropped(mqtt.Protocol, bridge.QueueFull) })
	h.own = true
	name := fmt.Sprintf("mqtt%d", i)
	c := paho.NewClient(paho.NewClientOptions().AddBroker("tcp://" + b.gateways[i].at.MQTT).SetClientID(name).SetUsername("x").SetPassword(key).SetAutoReconnect(false).SetOrderMatters(true))
	require.NoError(b.t, wait(c.Connect()))
	b.t.Cleanup(func() { c.Disconnect(100) })
	require.NoError(b.t, wait(c.Subscribe("watchtower/channels/5/#", 1, func(_ paho.Client, m paho.Message) { h.hears(string(m.Payload())) })))
	require.NoError(b.t, wait(c.Subscribe("own/#", 1, func(_ paho.Client, m paho.Message) { h.hears(string(m.Payload())) })))
	return func() {
		b.speaks(name, every, func(text string) error { return wait(c.Publish("watchtower/channels/5/broadcast", 1, false, text)) })
		b.speaks("own"+name, every, func(text string) error { return wait(c.Publish("own/"+name, 1, false, text)) })
	}
}

// device returns what has a device speak over UDP.
func (b *besieged) device(i int, every time.Duration) (speak func()) {
	name := fmt.Sprintf("udp%d", i)
	ctx, cancel := context.WithTimeout(context.Background(), lenient)
	defer cancel()
	d, err := small.Dial(ctx, "udp", b.gateways[i].at.UDP, small.Options{Secret: key, Name: name})
	require.NoError(b.t, err)
	b.t.Cleanup(func() { _ = d.Close(context.Background()) })
	require.NoError(b.t, d.Join(ctx, 5))
	b.speaking.Go(func() {
		for {
			select {
			case <-d.Messages():
			case <-b.over:
				return
			}
		}
	})
	return func() {
		b.speaks(name, every, func(text string) error {
			ctx, cancel := context.WithTimeout(context.Background(), lenient)
			defer cancel()
			return d.Broadcast(ctx, small.Text, []byte(text), 5)
		})
	}
}

// web returns what has a web client speak.
func (b *besieged) web(i int, every time.Duration) (speak func()) {
	name := fmt.Sprintf("web%d", i)
	r := b.gateways[i]
	me := r.register(name)
	r.follow(fmt.Sprintf("channels=5&sender=%d", me.ID), func([]byte) {})
	client := &nethttp.Client{Timeout: lenient, Transport: &nethttp.Transport{}}
	b.t.Cleanup(client.CloseIdleConnections)
	say := func(text string) error {
		body := fmt.Sprintf(`{"sender":%d,"channels":[5],"message":%q}`, me.ID, text)
		res, err := client.Post("http://"+r.at.HTTP+"/broadcast", "application/json", bytes.NewReader([]byte(body)))
		if err != nil {
			return err
		}
		defer res.Body.Close()
		if res.StatusCode != nethttp.StatusOK {
			return fmt.Errorf("status %d", res.StatusCode)
		}
		return nil
	}
	return func() { b.speaks(name, every, say) }
}

// listensLate has a stream listen at a gateway that comes later, until end is called.
func (b *besieged) listensLate(r *running) (end func()) {
	h := b.listener("the stream at the victim", func() int { return 0 })
	h.late = true
	stop := r.follow(fmt.Sprintf("channels=5&sender=%d", r.register("").ID), h.line)
	return func() {
		b.mu.Lock()
		b.heard = slices.DeleteFunc(b.heard, func(other *hearing) bool { return other == h })
		b.mu.Unlock()
		stop()
		h.mu.Lock()
		defer h.mu.Unlock()
		assert.Zero(b.t, h.holes, h.name)
	}
}

// goesOn waits until everybody has said more, and all have heard all of it.
func (b *besieged) goesOn(what string) {
	b.t.Helper()
	b.saysMore()
	b.allHeard(what)
}

// saysMore waits until everybody has said more.
func (b *besieged) saysMore() {
	b.t.Helper()
	b.mu.Lock()
	more := map[*atomic.Int64]int64{}
	for _, n := range b.said {
		more[n] = n.Load() + 5
	}
	b.mu.Unlock()
	eventually(b.t, "everybody speaks", func() bool {
		for n, want := range more {
			if n.Load() < want {
				return false
			}
		}
		return true
	})
}

// allHeard waits until everybody has heard all that was said until now.
func (b *besieged) allHeard(what string) {
	b.t.Helper()
	b.mu.Lock()
	said := map[string]int64{}
	for who, n := range b.said {
		said[who] = n.Load()
	}
	heard := b.heard
	b.mu.Unlock()
	begun := time.Now()
	missing := ""
	if !assert.Eventually(b.t, func() bool {
		missing = ""
		for _, h := range heard {
			missing += h.misses(said)
		}
		return missing == ""
	}, lenient, 5*time.Millisecond, what) {
		require.FailNow(b.t, missing)
	}
	b.t.Logf("%s: all was heard after %v", what, time.Since(begun).Round(time.Millisecond))
}

// quietFor is how long a listener hears nothing once all has come that comes.
const quietFor = 3 * time.Second

// misses tells what a listener has not heard of what was said, and may still come. What nobody has said
// anything after, and its gateway has counted as dropped, is a hole.
func (h *hearing) misses(said map[string]int64) (what string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	tails := int64(0)
	for who, n := range said {
		if left := n - h.next[who]; left > 0 && (h.own || !strings.HasPrefix(who, "own")) {
			what += fmt.Sprintf("%s has %d of %d by %s; ", h.name, h.next[who], n, who)
			tails += left
		}
	}
	if h.b.isSilent() && tails > 0 && time.Since(h.last) > quietFor && h.holes+tails <= int64(h.counted()) {
		h.holes += tails
		for who, n := range said {
			h.next[who] = max(h.next[who], n)
		}
		return ""
	}
	return what
}

// isSilent reports whether nobody speaks any more.
func (b *besieged) isSilent() bool {
	select {
	case <-b.over:
		return true
	default:
		return false
	}
}

// isOver ends the siege. All was heard, nothing was lost between gateways, and what a client has
// not heard is counted; if they do not speak fast, there is none of that.
func (b *besieged) isOver() {
	b.t.Helper()
	b.end()
	b.allHeard("the end")
	for _, r := range b.gateways {
		for _, o := range r.g.Hub().Peers().Others() {
			assert.Zero(b.t, o.Lost, "%s of %s", r.cfg.Gateway.Name, o.Name)
		}
	}
	for _, h := range b.heard {
		h.mu.Lock()
		assert.LessOrEqual(b.t, h.holes, int64(h.counted()), "%s has holes that nobody has counted", h.name)
		if siegeIsSlow {
			assert.Zero(b.t, h.holes, h.name)
		} else if h.holes > 0 {
			b.t.Logf("%s has not heard %d, which are counted", h.name, h.holes)
		}
		h.mu.Unlock()
	}
}
