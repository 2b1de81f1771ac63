package session_test

import "watchtower/bridge"

// The names of other packages' protocols.
var (
	viaHTTP = bridge.NewProtocol("http")
	viaUDP  = bridge.NewProtocol("udp")
)
