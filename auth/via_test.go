package auth_test

import "watchtower/bridge"

// Protocols as other packages would register them.
var (
	viaHTTP = bridge.NewProtocol("http")
	viaUDP  = bridge.NewProtocol("udp")
	viaMQTT = bridge.NewProtocol("mqtt")
)
