package mqtt_test

import "watchtower/bridge"

// Protocols of others.
var (
	viaHTTP = bridge.NewProtocol("http")
)
