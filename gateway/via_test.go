package gateway_test

import (
	"watchtower/callback"
	"watchtower/http"
	"watchtower/mqtt"
	"watchtower/tcp"
	"watchtower/udp"
)

// The protocols, for what is counted by them.
var (
	viaCallback = callback.Protocol
	viaHTTP     = http.Protocol
	viaMQTT     = mqtt.Protocol
	viaTCP      = tcp.Protocol
	viaUDP      = udp.Protocol
)
