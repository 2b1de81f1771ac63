//go:build cluster

package gateway_test

import "time"

const (
	siegePace   = 6 * time.Millisecond
	siegeIsSlow = false
	partitions  = 3
	outages     = 6
)
