package gateway_test

import (
	"watchtower/callback"
	"watchtower/gateway"
	"watchtower/http"
	"watchtower/irc"
	"watchtower/mqtt"
	"watchtower/tcp"
	"watchtower/udp"
)

// The protocols, for what is counted by them.
var (
	viaCallback = callback.Protocol
	viaHTTP     = http.Protocol
	viaIRC      = irc.Protocol
	viaMQTT     = mqtt.Protocol
	viaTCP      = tcp.Protocol
	viaUDP      = udp.Protocol
)

// addresses is where a gateway listens.
type addresses struct{ HTTP, HTTPS, UDP, TCP, MQTT, MQTTS, IRC, IRCS string }

func addressesOf(g *gateway.Gateway) addresses {
	at := g.Listening()
	return addresses{at.At("http"), at.At("https"), at.At("udp"), at.At("tcp"), at.At("mqtt"), at.At("mqtts"), at.At("irc"), at.At("ircs")}
}
