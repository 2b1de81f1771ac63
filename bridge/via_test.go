package bridge_test

import "watchtower/bridge"

// Protocols of others.
var (
	viaHTTP = bridge.NewProtocol("http")
	viaMQTT = bridge.NewProtocol("mqtt")
	viaTCP  = bridge.NewProtocol("tcp")
	viaUDP  = bridge.NewProtocol("udp")
)
