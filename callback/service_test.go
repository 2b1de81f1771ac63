package callback_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
	"watchtower/callback"
	"watchtower/history"
	"watchtower/internal/harness"
)

func TestOptionsAreChecked(t *testing.T) {
	hub, err := bridge.New(bridge.Options{})
	require.NoError(t, err)
	o := options()
	o.Allow = []string{"http://x/"}
	_, err = callback.New(hub, nil, o, nil)
	assert.ErrorContains(t, err, "callbacks.allow")
}

// Callbacks are a protocol of their own.
func TestWhatIsCountedSaysCallback(t *testing.T) {
	taken, reports := make(chan string, 10), make(chan bridge.Report, 1)
	g := start(t, func(_, body string) { taken <- body })
	g.say("hello", func(r bridge.Report) { reports <- r })
	assert.Contains(t, <-taken, `"message":"hello"`)
	assert.Equal(t, map[string]int{"callback": 1}, (<-reports).Offered)
	counts, _ := g.hub.Directory().Counts()
	assert.Equal(t, 1, counts[callback.Protocol])
	members, ok := g.hub.Directory().Members(g.speaker, 5)
	require.True(t, ok)
	assert.Equal(t, "callback", members.Members[0].Via)
	harness.Eventually(t, func() bool { _, out := g.hub.Counters().Messages(callback.Protocol); return out == 1 }, "it went out")
	assert.NotNil(t, g.hub.Directory().Links()[callback.Protocol])
}

// A callback that joins under load gets every message once and in order: earlier ones by
// replay, later ones live.
func TestReplayUnderLoad(t *testing.T) {
	const said, receivers = 200, 10
	var mu sync.Mutex
	heard := map[string][]string{}
	g := start(t, func(path, body string) {
		var m struct{ Message string }
		_ = json.Unmarshal([]byte(body), &m)
		mu.Lock()
		defer mu.Unlock()
		heard[path] = append(heard[path], m.Message)
	}, func(h *history.Options, o *callback.Options) { h.Messages, o.Queue = 2*said, 2*said })
	var want []string
	for i := range said {
		want = append(want, strconv.Itoa(i))
	}
	var speaking sync.WaitGroup
	defer speaking.Wait()
	speaking.Go(func() {
		for _, text := range want {
			g.say(text, nil)
		}
	})
	of := func(path string) []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(heard[path])
	}
	for i := range receivers {
		harness.Eventually(t, func() bool { return len(of("/speaker")) >= i*said/receivers/2 }, "some was said")
		g.join(g.hub.Holds().New(func() {}).Sender(), fmt.Sprint("/", i), "all")
	}
	for i := range receivers {
		path := fmt.Sprint("/", i)
		harness.Eventually(t, func() bool { return len(of(path)) >= said }, "all have come")
		assert.Equal(t, want, of(path), path)
	}
}

type brokenDisk struct{}

func (brokenDisk) Load(func(string, []byte) error) error { return nil }
func (brokenDisk) Commit(map[string][]byte) error        { return errors.New("disk full") }

// While the disk fails, deliveries that come and go take no memory.
func TestADiskThatFailsForLong(t *testing.T) {
	slow, taken := make(chan struct{}), make(chan string)
	g := start(t, func(_, body string) {
		<-slow
		taken <- body
	}, func(_ *history.Options, o *callback.Options) {
		o.Store, o.SaveInterval = brokenDisk{}, time.Millisecond
	})
	for i := range 50 {
		g.say(fmt.Sprint(i), nil)
		harness.Eventually(t, func() bool { return g.service.PendingRows() > 0 }, "it is to be written")
		slow <- struct{}{}
		assert.Contains(t, <-taken, fmt.Sprintf(`"message":"%d"`, i))
	}
	harness.Eventually(t, func() bool { return g.service.PendingRows() == 0 }, "nothing is to be written any more, and nothing was")
}
