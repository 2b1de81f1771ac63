//go:build !race

package http_test

import (
	"testing"

	"watchtower/internal/harness"

	"github.com/stretchr/testify/assert"
)

// A message costs a fixed number of allocations, however many streams get it.
func TestDeliveryAllocations(t *testing.T) {
	few, many := allocations(t, 10), allocations(t, 210)
	assert.Less(t, (many-few)/200, 0.1, "%g for 10 streams, %g for 210", few, many)
}

// allocations measures those of one message to so many streams that are read.
func allocations(t *testing.T, streams int) float64 {
	g := start(t)
	g.reading(t, streams)
	return harness.Allocations(t, g.hub, viaUDP, 7)
}
