// Package realhouse tests the real program beside the real Home Assistant. Its tests have the
// build tag homeassistant; make test-homeassistant makes what they need and runs them.
//
//	p := start(t, "channels: {5: {name: Watering, homeassistant: true}}") // the program
//	h := house.Open(t)                       // Home Assistant, without MQTT
//	h.Join(p.broker())                       // its MQTT integration is set up
//	d := p.device("balcony")                 // an MQTT client on channel 5
//	d.say(`{"sensors":{"m":{}},"commands":["open"]}`)
//	h.Shows("sensor.balcony_m", "unknown")
//	d.say(`{"m":41}`)
//	h.Shows("sensor.balcony_m", "41")
//	h.Call("button.press", "button.balcony_open", nil)
//	d.hears("open")
//
// Both sides can be stopped, killed and started again: p.stop, p.kill, p.start, and h.Stop,
// h.Kill, h.Start, h.Restart. Whatever is not a method of house.House is a command of its
// WebSocket API: h.Ask, h.Subscribe. When the test ends, the log of Home Assistant must have
// no warning and no error of MQTT, but those that h.Allow names.
package realhouse
