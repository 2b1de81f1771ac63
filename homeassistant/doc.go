// Package homeassistant announces channels to Home Assistant, which is a client of the
// broker: the channels with homeassistant: true in the configuration. It publishes devices
// and entities by MQTT discovery, and the topics that they read. It owns these topics below
// <base>/homeassistant/<gateway>:
//
//	<channel>/event           each broadcast as JSON, not retained      mirror.go
//	<channel>/last            the last broadcast, retained              mirror.go
//	<channel>/state/<sender>  the state of a described device, retained state.go
//	<channel>/live/<sender>   the same, not retained                    state.go
//	<channel>/moment/<sender> values that count once, not retained      state.go
//	<channel>/presence/<sender>  whether it is there, retained          presence.go
//
// and <base>/gateways/<gateway>/refused, with publishes that the broker refused (refusals.go).
//
// A sender can describe itself and becomes a device (description.go). What it can be is one
// table (kinds.go): a row for each kind of entity, with its options (options.go) and the
// component that it is in Home Assistant (components.go). Translating between the device's
// words and Home Assistant's is the business of Home Assistant's own templates (templates.go):
// the gateway gathers what devices say, and knows no words. Devices may bring templates too,
// which grammar.go reads: they cannot do harm.
//
// Everything that is
// published is first written to disk (known.go), so that it can be removed later, also
// after a restart (announce.go). Members are the business of package bridge, and the broker
// that of package mqtt.
//
// In a space of gateways one of them does all this at a time, in the name of the space (shared.go).
//
// The package does not encode messages with bridge/line. Home Assistant needs the text
// always as a string, and in addition each field of an object as an attribute of its own
// (mirror.go).
package homeassistant
