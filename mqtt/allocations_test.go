//go:build !race

package mqtt_test

import (
	"fmt"
	"io"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"
	"github.com/stretchr/testify/assert"
)

// A message costs a fixed number of allocations, however many sessions get it.
func TestDeliveryAllocations(t *testing.T) {
	few, many := allocations(t, 10), allocations(t, 210)
	// The collector takes a pooled buffer now and then.
	assert.Less(t, (many-few)/200, 0.1, "%g for 10 sessions, %g for 210", few, many)
}

// allocations measures those of one message to so many subscribers that read.
func allocations(t *testing.T, sessions int) float64 {
	h := build(t, nil)
	for i := range sessions {
		c := h.join(connect{id: fmt.Sprint("sub", i), version: 4})
		c.subscribe(0, "house/#")
		go func() { _, _ = io.Copy(io.Discard, c.nc) }() // ends with the broker
	}
	pub := h.join(connect{id: "pub", version: 4})
	message := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: 1}, TopicName: "house/x", Payload: make([]byte, 64)}
	return testing.AllocsPerRun(500, func() {
		message.PacketID = pub.id()
		pub.send(message)
		pub.read(packets.Puback)
	})
}
