package http_test

import "watchtower/bridge"

// Protocols of others.
var (
	viaUDP = bridge.NewProtocol("udp")
)
