package intake_test

import "watchtower/bridge"

// Protocols of others.
var (
	viaHTTP = bridge.NewProtocol("http")
	viaTCP  = bridge.NewProtocol("tcp")
)
