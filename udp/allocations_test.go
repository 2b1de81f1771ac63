//go:build !race

package udp_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"watchtower/bridge"
	"watchtower/internal/harness"
)

// A message costs a fixed number of allocations; its members add none.
func TestDeliveryAllocations(t *testing.T) {
	few, many := allocations(t, 10), allocations(t, 210)
	// The garbage collector takes a pooled buffer now and then.
	assert.Less(t, (many-few)/200, 0.1, "%g for 10 members, %g for 210", few, many)
}

// allocations returns those of one message to so many members. The kernel drops what they
// do not read.
func allocations(t *testing.T, members int) float64 {
	g := start(t, bridge.Options{}, nil)
	for range members {
		g.joined(t, 7)
	}
	return harness.Allocations(t, g.hub, viaHTTP, 7)
}
