package homeassistant_test

import "watchtower/bridge"

// Protocols of others.
var (
	viaMQTT = bridge.NewProtocol("mqtt")
	viaUDP  = bridge.NewProtocol("udp")
)
