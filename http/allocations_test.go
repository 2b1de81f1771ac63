//go:build !race

package http_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
)

// A message costs what it costs; each stream that it goes to costs nothing more.
func TestDeliveryAllocations(t *testing.T) {
	few, many := allocations(t, 10), allocations(t, 210)
	assert.Less(t, (many-few)/200, 0.1, "%g for 10 streams, %g for 210", few, many)
}

// allocations are those of one message to so many streams that are read.
func allocations(t *testing.T, streams int) float64 {
	g := start(t)
	g.reading(t, streams)
	hold := g.hub.Holds().New(func() {})
	defer g.hub.Holds().Release(hold)
	require.NoError(t, g.hub.Attach(hold.Sender(), 7, &bridge.Attachment{Via: viaUDP, Broadcasts: true}))
	data, done := make([]byte, 64), make(chan struct{})
	report := func(bridge.Report) { done <- struct{}{} }
	n := testing.AllocsPerRun(500, func() {
		_, err := g.hub.Publish(hold.Sender(), bridge.Publication{
			Channels: []bridge.Channel{7}, Content: bridge.Content{Data: data}, Wait: true, Report: report,
		})
		if err != nil {
			t.Error(err)
		}
		<-done
	})
	g.stop()
	return n
}
