package homeassistant

import (
	"sync"

	"watchtower/bridge"
)

// voice is the sender of what the gateway says to devices. It is made when the gateway first
// speaks, and is not remembered over restarts.
type voice struct {
	mu   sync.Mutex
	hold *bridge.Hold // nil: none
}

// voiceName returns the name of a gateway's own sender. No MQTT client can have it.
func voiceName(gateway string) string {
	name := "watchtower-" + gateway
	return name[:min(len(name), 64)] // the most characters of a name
}

func (v *voice) of(hub *bridge.Hub, gateway string) (*bridge.Sender, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.hold != nil {
		return v.hold.Sender(), nil
	}
	var hold *bridge.Hold
	hold, err := hub.Holds().Register(bridge.Naming{Name: voiceName(gateway)}, func() { // it was deleted
		v.mu.Lock()
		defer v.mu.Unlock()
		if v.hold == hold {
			v.hold = nil
		}
	})
	if err != nil {
		return nil, err
	}
	v.hold = hold
	return hold.Sender(), nil
}

// end lets the sender go.
func (v *voice) end(hub *bridge.Hub) {
	v.mu.Lock()
	hold := v.hold
	v.hold = nil
	v.mu.Unlock()
	if hold != nil {
		hub.Holds().Release(hold)
	}
}
