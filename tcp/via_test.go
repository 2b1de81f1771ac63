package tcp_test

import "watchtower/bridge"

// The names of other packages' protocols.
var (
	viaHTTP = bridge.NewProtocol("http")
)
