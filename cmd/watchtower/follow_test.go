package main

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// follower runs follow and gives its output line by line.
type follower struct {
	*bufio.Scanner
	stop   context.CancelFunc
	result chan error
}

func follow(t *testing.T, p *place, json bool) *follower {
	out, w := io.Pipe()
	p.surroundings.out = w
	c := newClient(p.surroundings)
	c.json = json
	c.firstGap, c.longestGap = time.Millisecond, 4*time.Millisecond
	ctx, stop := context.WithCancel(t.Context())
	f := &follower{bufio.NewScanner(out), stop, make(chan error, 1)}
	go func() {
		o := output{}
		each, err := o.open(ctx, c)
		if err == nil {
			err = c.follow(ctx, hearing{channels: []uint32{5}, raw: json}, func(_ speaker, m message) error { return each(m) })
		}
		_ = w.Close()
		f.result <- err
	}()
	t.Cleanup(func() {
		stop()
		_ = out.Close()
	})
	return f
}

func (f *follower) line(t *testing.T) string {
	t.Helper()
	require.True(t, f.Scan(), "it ended")
	return f.Text()
}

const aMessage = `{"id":"01J","time":"2026-11-22T20:00:00.123Z","type":"broadcast","channel":5,"sender":72,"name":"kitchen","message":"hi"}`

func TestFollowEndsQuietly(t *testing.T) {
	f, p := newFake(t, "key"), newPlace(t)
	p.announce(t, f)
	out := follow(t, p, true)
	assert.Equal(t, "channels=5&echo=true&linger=false&sender=72", <-f.opened)
	f.tell("") // a heartbeat
	go f.tell(aMessage)
	assert.Equal(t, aMessage, out.line(t))
	out.stop()
	require.NoError(t, <-out.result)
}

func TestFollowComesBack(t *testing.T) {
	f, p := newFake(t, "key"), newPlace(t)
	p.announce(t, f)
	out := follow(t, p, false)
	for n := range 3 {
		assert.Equal(t, n > 0, strings.Contains(<-f.opened, "since=01J"), "what was said meanwhile is wanted")
		go f.tell(aMessage)
		assert.Contains(t, out.line(t), " #5 kitchen (72): hi")
		f.forget() // its data is gone, too
		f.kick()
	}
	<-f.opened
	f.tell(`{"type":"gap","channel":5}`)
	go f.tell(aMessage)
	out.line(t) // it has said that it follows
	assert.Equal(t, 4, f.registered())
	out.stop()
	require.NoError(t, <-out.result)
	said := p.err.String()
	assert.Contains(t, said, "watchtower: channel 5: something was said that is not known any more\n")
	assert.Equal(t, 3, strings.Count(said, "watchtower: connection lost: the gateway ended the stream; trying again in 1ms\n"))
	assert.Equal(t, 4, strings.Count(said, "watchtower: following channel 5 at "+f.URL+" as cli-"))
}

func TestFollowMovesWithTheGateway(t *testing.T) {
	before, p := newFake(t, "key"), newPlace(t)
	p.announce(t, before)
	out := follow(t, p, false)
	<-before.opened
	after := newFake(t, "other key")
	p.announce(t, after)
	before.kick()
	<-after.opened
	out.stop()
	require.NoError(t, <-out.result)
}

func TestFollowGivesUp(t *testing.T) {
	p := newPlace(t)
	out := follow(t, p, false)
	require.ErrorContains(t, <-out.result, "no gateway runs", "it never stood")

	for status, want := range map[int]bool{400: true, 429: false, 500: false, 503: false} {
		assert.Equal(t, want, final(&refusal{status: status}), status)
	}
}

func TestStreamThatEndsAtOnce(t *testing.T) {
	p := newPlace(t)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/register" {
			_, _ = io.WriteString(w, `{"id":1,"token":"wt_1"}`)
		}
	}))
	defer s.Close()
	code, _, err := p.run("broadcast", "5", "x", "--url", s.URL)
	assert.Equal(t, exitError, code)
	assert.Contains(t, err, "ended the stream at once")
}

// A client that is cut off before its first message asks for the messages since its stream
// opened.
func TestHowFarSomebodyHasHeard(t *testing.T) {
	now := time.Now()
	assert.Empty(t, until{}.since(now))
	assert.Equal(t, "4s", until{began: now.Add(-3500 * time.Millisecond)}.since(now))
	assert.Equal(t, "01J", until{began: now, last: "01J"}.since(now))
}
