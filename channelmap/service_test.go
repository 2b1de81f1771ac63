package channelmap

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	logtest "github.com/sirupsen/logrus/hooks/test"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"watchtower/bridge"
	"watchtower/config"
	"watchtower/internal/harness"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var viaTest = bridge.NewProtocol("test")

// tree keeps what it is told.
type tree struct {
	mu        sync.Mutex
	listened  [][]Filter
	published []string
	full      bool
}

func (t *tree) Listen(filters []Filter) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.listened = append(t.listened, filters)
}

func (t *tree) Publish(topic string, payload []byte, qos byte, retain bool) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.full {
		return errors.New("the broker is full")
	}
	t.published = append(t.published, fmt.Sprintf("%s %s %d %t", topic, payload, qos, retain))
	return nil
}

func (t *tree) has() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]string(nil), t.published...)
}

// carrier is a service with a hub and a tree.
type carrier struct {
	*Service
	hub  *bridge.Hub
	tree *tree
	log  *logtest.Hook
	said *bridge.Link // what is said on channels, through a tap
}

func carrying(t *testing.T, channels map[uint32][]config.Map) *carrier {
	log, hook := logtest.NewNullLogger()
	hub, _ := harness.Hub(t, viaTest, bridge.Options{Tree: bridge.NewTree("w", "g"), OwnNames: []string{SenderName}, Log: log})
	c := &carrier{New(hub, compiled(t, channels), log), hub, &tree{}, hook, nil}
	c.said = hub.AddTap(0, 10_000, 64<<20, func(*bridge.Message) bool { return true })
	c.Dock(c.tree)
	return c
}

// heard returns what was said on channels so far.
func (c *carrier) heard() (texts []string) {
	c.said.Flush(func(jobs []bridge.Job) {
		for _, j := range jobs {
			texts = append(texts, fmt.Sprintf("%d %s %s", j.Message.Channel, j.Message.Name, j.Message.Data))
			j.Release()
		}
	})
	return texts
}

func (c *carrier) dropped(r bridge.Reason) uint64 { return c.hub.Counters().Dropped(Protocol, r) }

func TestWhatComesInIsSaidInOrderAndBounded(t *testing.T) {
	c := carrying(t, map[uint32][]config.Map{5: {{Topic: "a/+", In: true}}})
	for i := range mostWaiting + 3 {
		c.Hear("a/b", fmt.Append(nil, i), false)
	}
	assert.EqualValues(t, 3, c.dropped(bridge.LinkFull))
	c.Hear("w/channels/5/broadcast", []byte("ours"), false)
	stop := harness.Serve(t, c.Serve)
	c.Quiesce(t.Context())
	c.Hear("a/b", []byte("too late"), false)
	said := c.heard()
	require.Len(t, said, mostWaiting)
	for i, text := range said {
		require.Equal(t, fmt.Sprintf("5 map %d", i), text)
	}
	stop()
	assert.Equal(t, [][]Filter{{{"a/+", 0, false}}, nil}, c.tree.listened)
	in, out := c.hub.Counters().Messages(Protocol)
	assert.EqualValues(t, mostWaiting, in)
	assert.Zero(t, out)
}

func TestBytesThatWaitAreBounded(t *testing.T) {
	c := carrying(t, map[uint32][]config.Map{5: {{Topic: "a", In: true, Template: "large"}}})
	large := make([]byte, mostWaitingBytes/4)
	for range 6 {
		c.Hear("a", large, false)
	}
	assert.EqualValues(t, 2, c.dropped(bridge.LinkFull))
	c.Hear("a", []byte{}, false) // of no bytes
	stop := harness.Serve(t, c.Serve)
	c.Quiesce(t.Context())
	stop()
	assert.Len(t, c.heard(), 4)
	assert.Zero(t, c.bytes.Load())
	assert.EqualValues(t, 1, c.Skipped()["empty"])
}

// What waits when the gateway ends, without time to quiesce, is counted.
func TestWhatWaitsAtTheEndIsCounted(t *testing.T) {
	c := carrying(t, map[uint32][]config.Map{5: {{Topic: "a", In: true}}})
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for range 100 {
		c.Hear("a", []byte("x"), false)
	}
	require.NoError(t, c.Serve(ended))
	assert.EqualValues(t, 100, uint64(len(c.heard()))+c.dropped(bridge.LinkFull))
	assert.Zero(t, c.waiting.Load())
}

func TestWhatDoesNotCrossIsCountedAndLogged(t *testing.T) {
	c := carrying(t, map[uint32][]config.Map{
		5: {{Topic: "a", In: true}, {Topic: "json", In: true, Template: "{{ value_json.a }}"}, {Topic: "out", Out: true, QoS: 2, Retain: true}},
		6: {{Topic: "rule", In: true}},
	})
	c.hub.Directory().SetRules(map[bridge.Channel]bridge.Rule{6: {Confirm: 2, Within: time.Minute}})
	harness.Serve(t, c.Serve)
	said := func(reason bridge.Reason, n int) {
		t.Helper()
		harness.Eventually(t, func() bool { return c.dropped(reason) == uint64(n) }, "it is counted")
	}
	for range 3 {
		c.Hear("a", make([]byte, config.Default().Limits.MessageBytes+1), false)
		c.Hear("json", []byte("none"), false)
		c.Hear("rule", []byte("x"), false)
	}
	said(bridge.TooLarge, 3)
	said(Misfit, 3)
	said(bridge.Refused, 3)
	logged := func(n int) { // which comes after it was counted
		t.Helper()
		harness.Eventually(t, func() bool { return len(c.log.AllEntries()) >= n }, "it is logged")
		assert.Len(t, c.log.AllEntries(), n, "once a minute for each")
	}
	logged(3)

	c.tree.full = true
	sender := c.hub.Holds().New(func() {}).Sender()
	say := func(text string) {
		_, err := c.hub.Publish(sender, bridge.Publication{Channels: []bridge.Channel{5}, Content: bridge.Content{Data: []byte(text)}, Via: viaTest, Outside: true})
		require.NoError(t, err)
	}
	say("1")
	said(bridge.Refused, 4)
	logged(4)
	assert.Equal(t, "a map did not carry a message: the broker is full", c.log.LastEntry().Message)
	c.tree.mu.Lock()
	c.tree.full = false
	c.tree.mu.Unlock()
	say("2")
	harness.Eventually(t, func() bool { return len(c.tree.has()) == 1 }, "it is published")
	assert.Equal(t, []string{"out 2 2 true"}, c.tree.has())
	_, out := c.hub.Counters().Messages(Protocol)
	assert.EqualValues(t, 1, out)
}

func TestOtherMapsComeIntoForce(t *testing.T) {
	c := carrying(t, nil)
	assert.Nil(t, c.hold.Load(), "nobody sees a sender without maps")
	c.Change(compiled(t, map[uint32][]config.Map{5: {{Topic: "a", In: true}}}))
	assert.Empty(t, c.tree.listened, "it does not listen yet")
	harness.Serve(t, c.Serve)
	harness.Eventually(t, func() bool {
		c.tree.mu.Lock()
		defer c.tree.mu.Unlock()
		return len(c.tree.listened) == 1
	}, "it listens")
	c.Change(compiled(t, map[uint32][]config.Map{5: {{Topic: "b", In: true, Retained: true}}}))
	assert.Equal(t, []Filter{{"b", 0, true}}, c.tree.listened[1])
	c.Hear("a", []byte("x"), false)
	c.Hear("b", []byte("y"), true)
	c.Quiesce(t.Context())
	assert.Equal(t, []string{"5 map y"}, c.heard())
}
