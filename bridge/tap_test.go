package bridge_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
)

// A tap gets the broadcasts that it wants. It is part of no report, and delays nobody
// when it is full.
func TestATap(t *testing.T) {
	h := newHub(t, nil)
	tap := h.AddTap(0, 3, 1000, func(m *bridge.Message) bool { return m.Channel == 5 })
	s := h.Holds().New(func() {}).Sender()
	for _, c := range []bridge.Channel{5, 6} {
		require.NoError(t, h.Attach(s, c, &bridge.Attachment{Via: viaUDP, Broadcasts: true, Sends: true}))
	}
	reports := make(chan bridge.Report, 100)
	say := func(p bridge.Publication) {
		p.Wait, p.Via, p.Report = true, viaUDP, func(r bridge.Report) { reports <- r }
		_, err := h.Publish(s, p)
		require.NoError(t, err)
	}
	say(bridge.Publication{Channels: []bridge.Channel{6}})
	say(bridge.Publication{Type: bridge.Send, Channels: []bridge.Channel{5}, Receivers: []bridge.SenderID{s.ID()}})
	assert.Zero(t, tap.Queued())
	assert.Len(t, reports, 2)
	for i := range 5 {
		say(bridge.Publication{Channels: []bridge.Channel{5}, Content: bridge.Content{Data: []byte{byte(i)}}})
	}
	assert.EqualValues(t, 2, h.Counters().Dropped(viaMQTT, bridge.LinkFull))
	assert.False(t, tap.Idle())
	got := ""
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	tap.Run(ended, func(jobs []bridge.Job) {
		for _, j := range jobs {
			got += string(j.Message.Data)
			j.Done(h.Counters(), viaMQTT, 0, 0)
		}
	})
	assert.Equal(t, "\x00\x01\x02", got)
	assert.True(t, tap.Idle())
	h.Drain(context.Background())
	for range 7 {
		assert.Empty(t, (<-reports).Offered)
	}
	_, out := h.Counters().Messages(viaMQTT)
	assert.Zero(t, out)
}

func TestTheDeparted(t *testing.T) {
	h := newHub(t, nil)
	named, err := h.Holds().Register(bridge.Naming{Name: "lamp", Lasting: true}, func() {})
	require.NoError(t, err)
	unnamed := h.Holds().New(func() {})
	assert.True(t, h.Known(named.Sender().ID()))
	h.Forget(unnamed.Sender())
	assert.Empty(t, h.Directory().Departed(), "nobody follows those without a name")
	h.Forget(named.Sender())
	assert.Len(t, h.Directory().Departed(), 1)
	assert.False(t, h.Known(named.Sender().ID()))
}
