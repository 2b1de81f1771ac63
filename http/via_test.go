package http_test

import "watchtower/bridge"

// Protocols of other packages.
var (
	viaUDP = bridge.NewProtocol("udp")
)
