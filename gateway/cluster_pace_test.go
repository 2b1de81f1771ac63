//go:build !cluster

package gateway_test

import "time"

// siegePace is between two messages of each of those who speak at besieged gateways. With the tag
// cluster, the twelve at three gateways say 2,000 a second together, and receivers' queues may be full
// after an outage. Without, there are fewer outages.
const (
	siegePace   = 40 * time.Millisecond
	siegeIsSlow = true
	partitions  = 1
	outages     = 2
)
