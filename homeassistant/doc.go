// Package homeassistant tells Home Assistant, which is a client of the broker, of
// the channels that ask for it: devices and entities by MQTT discovery, and the
// topics that feed them. What it owns below <base>/homeassistant/<gateway>:
//
//	<channel>/event           each broadcast as JSON, not retained     mirror.go
//	<channel>/last            the last one, retained                   mirror.go
//	<channel>/state/<sender>  what a described device says, retained   state.go
//
// A sender can describe itself and becomes a device (description.go). What Home
// Assistant may know is written to the memory before it is published (known.go),
// so that all of it can be taken back, by the gateway of tomorrow too
// (announce.go). Whoever is a member, and the broker itself, are the business of
// bridge and mqtt.
//
// A message is not encoded by package bridge/line here. Home Assistant wants its text as
// a string in every case, and beside it the fields of a message that is an object, each
// as an attribute of its own (mirror.go).
package homeassistant
