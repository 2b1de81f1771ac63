//go:build !race

package tcp_test

import (
	"io"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
)

// A message costs what it costs; each member that it goes to, nothing.
func TestDeliveryAllocations(t *testing.T) {
	few, many := allocations(t, 10), allocations(t, 210)
	// The collector takes a pooled buffer now and then.
	assert.Less(t, (many-few)/200, 0.1, "%g for 10 members, %g for 210", few, many)
}

// allocations are those of one message to so many members who read.
func allocations(t *testing.T, members int) float64 {
	g := start(t, bridge.Options{}, nil)
	for range members {
		c := g.joined(t, 7)
		go func() { _, _ = io.Copy(io.Discard, c.conn) }() // ends with the gateway
	}
	hold := g.hub.Holds().New(func() {})
	defer g.hub.Holds().Release(hold)
	require.NoError(t, g.hub.Attach(hold.Sender(), 7, &bridge.Attachment{Via: viaHTTP, Broadcasts: true}))
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
