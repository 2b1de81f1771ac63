package basic_test

import "watchtower/bridge"

// The names of other packages' protocols.
var (
	viaTCP = bridge.NewProtocol("tcp")
	viaUDP = bridge.NewProtocol("udp")
)
