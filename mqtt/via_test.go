package mqtt_test

import "watchtower/bridge"

// Protocols of other packages.
var (
	viaHTTP = bridge.NewProtocol("http")
)
