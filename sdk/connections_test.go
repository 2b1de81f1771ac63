package sdk_test

import (
	"context"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/config"
	"watchtower/internal/harness"
)

func aCutCable(t *testing.T, open opener) {
	h := start(t, func(c *config.Config) { c.History.Messages = 1000 })
	cable := harness.NewCable(t, h.at)
	c := open(t, cable.Addr())
	c.connect(cable.Addr(), "")
	c.do("join", obj{"channels": []int{5}})
	s := h.speaker()
	want := s.count(0, 3)
	c.heard(3)
	cable.Cut()
	lost := c.reaches("reconnecting", 1)
	assert.NotEmpty(t, lost.Reason)
	assert.Equal(t, "network", lost.Error.Type)
	want = append(want, s.count(3, 103)...)
	p := c.refused("broadcast", obj{"channels": []int{5}, "message": "not now"})
	assert.Equal(t, "network", p.Type)
	assert.Zero(t, p.Status)
	cable.Mend()
	want = append(want, s.count(103, 105)...)
	assert.Equal(t, want, c.heard(105), "everything, once, in order")
	c.reaches("open", 2)
	assert.Empty(t, c.of("gap"))
}

func aCutBeforeTheFirstWord(t *testing.T, open opener) {
	h := start(t, nil)
	cable := harness.NewCable(t, h.at)
	c := open(t, cable.Addr())
	c.connect(cable.Addr(), "")
	c.do("join", obj{"channels": []int{5}})
	s := h.speaker()
	cable.Cut()
	want := s.count(0, 5)
	cable.Mend()
	assert.Equal(t, want, c.heard(5))
}

func notKeptAnyMore(t *testing.T, open opener) {
	h := start(t, func(c *config.Config) { c.History.Messages = 10 })
	cable := harness.NewCable(t, h.at)
	c := open(t, cable.Addr())
	c.connect(cable.Addr(), "")
	c.do("join", obj{"channels": []int{5}})
	s := h.speaker()
	want := s.count(0, 1)
	c.heard(1)
	cable.Cut()
	want = append(want, s.count(1, 21)[10:]...)
	cable.Mend()
	assert.Equal(t, want, c.heard(11))
	require.Len(t, c.of("gap"), 1)
	assert.Equal(t, 5, c.of("gap")[0].Channel)
}

func aRestart(t *testing.T, open opener) {
	h := start(t, nil)
	c := open(t, h.at)
	c.connect(h.at, "lamp")
	c.do("join", obj{"channels": []int{5}})
	s := h.speaker()
	want := s.count(0, 1)
	c.heard(1)
	h.stop()
	c.reaches("reconnecting", 1)
	h.start()
	c.reaches("open", 2)
	s.post("/channels/join", obj{"channels": []int{5}})
	want = append(want, s.count(1, 2)...)
	assert.Equal(t, want, c.heard(2))
	assert.Empty(t, c.of("gap"), "it stopped in good order, and nothing was said meanwhile")
}

func tooManyStreams(t *testing.T, open opener) {
	h := start(t, func(c *config.Config) { c.Limits.SenderStreams = 1 })
	c := open(t, h.at)
	c.connect(h.at, "")
	c.do("join", obj{"channels": []int{5}})
	late := make(chan answer, 1)
	go func() { late <- c.ask("join", obj{"channels": []int{6}}) }()
	refused := c.reaches("reconnecting", 1)
	assert.Equal(t, 429, refused.Error.Status)
	assert.Equal(t, 1.0, refused.Error.RetryAfter)
	c.do("leave", obj{"channels": []int{5}})
	a := <-late
	assert.Nil(t, a.Error, "it tries again")
}

func manyReconnects(t *testing.T, open opener) {
	h := start(t, func(c *config.Config) { c.HTTP.Linger = 0 })
	cable := harness.NewCable(t, h.at)
	c := open(t, cable.Addr())
	c.connect(cable.Addr(), "")
	c.do("join", obj{"channels": []int{5}})
	s := h.speaker()
	var want []any
	for round := range 3 {
		cable.Cut()
		c.reaches("reconnecting", round+1)
		want = append(want, s.count(round, round+1)...)
		cable.Mend()
		c.heard(round + 1)
	}
	assert.Equal(t, want, c.heard(3))
	c.eventually(func() bool { return h.members() == 3 }, "one stream, and the speaker's mailbox on two channels: %d", h.members())
}

// A browser keeps a WebSocket's pings to itself, so the gateway sends what a page can read. After
// silence for twice as long the module comes back.
func testSilence(t *testing.T, chromium context.Context) {
	t.Parallel()
	h := start(t, func(c *config.Config) { c.HTTP.Heartbeat = time.Second })
	cable := harness.NewCable(t, h.at)
	c := newPage(t, chromium, cable.Addr())
	c.connect(cable.Addr(), "")
	c.do("join", obj{"channels": []int{5}})
	s := h.speaker()
	want := s.count(0, 1)
	c.heard(1)
	quiet := time.Now() // nothing is said, and nothing is lost
	c.eventually(func() bool { return time.Since(quiet) > 3*h.cfg.HTTP.Heartbeat }, "time passes")
	assert.Empty(t, c.reached("reconnecting"))
	cable.Freeze()
	lost := c.reaches("reconnecting", 1)
	assert.Equal(t, "network", lost.Error.Type)
	want = append(want, s.count(1, 5)...)
	cable.Mend()
	assert.Equal(t, want, c.heard(5), "everything, once, in order")
	assert.Empty(t, c.of("gap"))
}

func closeLeavesNothing(t *testing.T, open opener) {
	h := start(t, func(c *config.Config) { c.HTTP.Linger = 0 })
	cable := harness.NewCable(t, h.at)
	c := open(t, cable.Addr())
	c.connect(cable.Addr(), "")
	c.do("join", obj{"channels": []int{5}})
	c.do("join", obj{"channels": []int{6}})
	cable.Cut() // the third join cannot get through when it is closed
	late := make(chan answer, 1)
	go func() { late <- c.ask("join", obj{"channels": []int{7}}) }()
	c.reaches("reconnecting", 3)
	cable.Mend()
	c.do("close", obj{})
	a := <-late
	require.NotNil(t, a.Error)
	assert.Equal(t, "closed", a.Error.Type)
	assert.Equal(t, "closed", c.reaches("closed", 3).Error.Type)
	assert.Equal(t, "closed", c.refused("members", obj{"channel": 5}).Type)
	assert.Equal(t, "closed", c.refused("join", obj{"channels": []int{5}}).Type)
	c.do("close", obj{})
	c.eventually(func() bool { return h.members() == 0 }, "no stream is left")
	assert.Len(t, c.of("message"), 0)
}

// An exchange that is cancelled while it closes its connection leaves nothing behind, and Python warns
// of nothing.
func TestAnExchangeIsCancelledTwice(t *testing.T) {
	t.Parallel()
	out, err := exec.Command("/usr/bin/python3", "-B", "testdata/cancel.py", "python").CombinedOutput()
	require.NoError(t, err, string(out))
	require.Empty(t, string(out))
}
