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

// VoiceName returns the name of the sender by which a gateway speaks to devices. Nobody else
// can have it (bridge.Options.OwnNames).
func VoiceName(gateway string) string {
	name := "watchtower-" + gateway
	return name[:min(len(name), 64)] // the most characters of a name
}

func (v *voice) of(hub *bridge.Hub, gateway string) *bridge.Sender {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.hold == nil {
		v.hold = hub.Holds().Own(VoiceName(gateway))
	}
	return v.hold.Sender()
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
