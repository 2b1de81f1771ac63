package basic_test

import "watchtower/bridge"

// Protocols of others.
var (
	viaTCP = bridge.NewProtocol("tcp")
	viaUDP = bridge.NewProtocol("udp")
)
