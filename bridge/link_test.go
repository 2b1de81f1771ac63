package bridge_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
)

// A link that two protocols share gets a message once, whichever of them has members for
// it. A message that it does not take counts for each of them.
func TestALinkThatProtocolsShare(t *testing.T) {
	h := newHub(t, nil)
	link := h.AddLink(viaTCP, 1, time.Millisecond)
	h.Share(link, viaHTTP)
	s := h.Holds().New(func() {}).Sender()
	reports := make(chan bridge.Report, 10)
	say := func(p bridge.Publication) error {
		p.Channels, p.Via, p.Report = []bridge.Channel{5}, viaUDP, func(r bridge.Report) { reports <- r }
		_, err := h.Publish(s, p)
		return err
	}
	require.NoError(t, h.Attach(s, 5, &bridge.Attachment{Via: viaHTTP, Broadcasts: true, Sends: true}))
	require.NoError(t, say(bridge.Publication{}))
	assert.Equal(t, 1, link.Queued(), "the first has no members")
	require.NoError(t, h.Attach(s, 5, &bridge.Attachment{Via: viaTCP, Broadcasts: true, Sends: true}))
	full := map[string]int{"tcp": 1, "http": 1}
	send := bridge.Publication{Type: bridge.Send, Receivers: []bridge.SenderID{s.ID()}}
	for _, p := range []bridge.Publication{{}, send} {
		require.Error(t, say(p))
		r := <-reports
		assert.Equal(t, full, r.Offered)
		assert.Equal(t, full, r.Dropped)
	}
	for _, p := range []bridge.Protocol{viaTCP, viaHTTP} {
		assert.EqualValues(t, 2, h.Counters().Dropped(p, bridge.LinkFull))
		assert.Same(t, link, h.Directory().Links()[p])
	}
	assert.Empty(t, reports, "the first is on its way")
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	jobs := 0
	link.Run(ended, func(batch []bridge.Job) {
		for _, j := range batch {
			jobs++
			for _, p := range []bridge.Protocol{viaTCP, viaHTTP} {
				n := 0
				for _, a := range h.Receivers(j.Message, p) {
					if a.Wants(j.Message) {
						n++
					}
				}
				j.Count(h.Counters(), p, n, 0)
			}
			j.Release()
		}
	})
	assert.Equal(t, 1, jobs)
	assert.Equal(t, map[string]int{"http": 1}, (<-reports).Offered, "who joined later is not offered it")
	assert.True(t, link.Idle())
}

// What was on its way has passed, also while the link is never idle.
func TestALinkHasPassedWhatWasOnItsWay(t *testing.T) {
	t.Parallel()
	h := newHub(t, nil)
	link := h.AddLink(viaTCP, 1000, time.Millisecond)
	s := h.Holds().New(func() {}).Sender()
	require.NoError(t, h.Attach(s, 5, &bridge.Attachment{Via: viaTCP, Broadcasts: true, Sends: true}))
	say := func() {
		_, err := h.Publish(s, bridge.Publication{Channels: []bridge.Channel{5}, Via: viaUDP})
		require.NoError(t, err)
	}
	assert.True(t, link.Passed()(), "nothing is on its way")
	say()
	say()
	passed, batches := link.Passed(), 0
	assert.False(t, passed())
	link.Flush(func(batch []bridge.Job) {
		for _, j := range batch {
			j.Done(h.Counters(), viaTCP, 1, 0)
		}
		if batches++; batches == 1 {
			assert.Len(t, batch, 2)
			assert.False(t, passed(), "they are being fanned out")
			say() // so there is always one more
			return
		}
		assert.True(t, passed())
		assert.False(t, link.Idle())
		assert.False(t, link.Passed()(), "that is another question")
	})
	assert.Equal(t, 2, batches)
}
