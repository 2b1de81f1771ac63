// Package remote puts the gateway's channels on a broker that is not the gateway's, such as the
// mosquitto of Home Assistant. It is a client of that broker. The gateway's own broker stays
// what it is.
//
// What is said on channels here is published there, on the same topics, and what clients of that
// broker say there under their ids is heard here. They join by a retained message on
// <base>/joins/<id>. MQTT tells a subscriber nothing of a publisher, so who speaks is as sure as
// the broker's rules: mqtt.remote.trust says what the gateway relies on, and the probe shows it.
//
// The files, from top to bottom:
//
//	bus.go        the parts together        client.go  connects again and again
//	check.go      what a broker does, for people
//	probe.go      what the broker enforces  reader.go  the broker's packets
//	house.go      Home Assistant there
//	hear.go       what its clients say      outbox.go  what waits for the broker
//	joins.go      who of them has joined    dial.go    one connection
//	say.go        what is said here         filter.go  topic filters
//	topics.go     topics of others          rival.go   another gateway of the same name
//	documents.go  retained messages         packet.go  the codec
//	neighbours.go other gateways there
package remote
