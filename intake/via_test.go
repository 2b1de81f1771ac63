package intake_test

import "watchtower/bridge"

// Protocols as other packages would register them.
var (
	viaHTTP = bridge.NewProtocol("http")
	viaTCP  = bridge.NewProtocol("tcp")
)
