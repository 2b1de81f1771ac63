// Package remote puts the gateway's channels on a broker that is not the gateway's, such as the
// mosquitto of Home Assistant. It is a client of that broker. The gateway's own broker stays
// what it is.
//
// What is said on channels here is published there, on the same topics, and what clients of that
// broker say there under their ids is heard here. They join by a retained message on
// <base>/joins/<id>. MQTT tells a subscriber nothing of a publisher, so who speaks is as sure as
// the broker's rules: mqtt.remote.trust says what the gateway relies on, and the probe shows it.
//
// The files:
//
//	bus.go         the parts together
//	check.go       what a broker does, for people
//	probe.go       what the broker enforces
//	rival.go       another gateway of the same name
//	turns.go       which of several gateways takes something
//	neighbours.go  other gateways there
//	house.go       Home Assistant there
//	barrier.go     when all has come that the broker had kept
//	hear.go        what its clients say
//	joins.go       who of them has joined
//	say.go         what is said here
//	topics.go      topics of others
//	documents.go   retained messages
//	client.go      connects again and again
//	kept.go        filters that the broker may have kept
//	subscribe.go   filters, and what is done with their messages
//	reader.go      the broker's packets
//	deliveries.go  what it says, until it is taken
//	send.go        what is sent
//	outbox.go      what waits for the broker
//	acks.go        what it has not acknowledged
//	dial.go        one connection
//	filter.go      topic filters
//	packet.go      the codec
package remote
