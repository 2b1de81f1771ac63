package bridge_test

import "watchtower/bridge"

// The names of other packages' protocols.
var (
	viaHTTP = bridge.NewProtocol("http")
	viaMQTT = bridge.NewProtocol("mqtt")
	viaTCP  = bridge.NewProtocol("tcp")
	viaUDP  = bridge.NewProtocol("udp")
)
