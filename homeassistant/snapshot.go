package homeassistant

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"watchtower/bridge"
)

// Snapshot is what the service has announced, for people.
type Snapshot struct {
	Birth   time.Time // when Home Assistant last said online; zero: not since the start
	Devices []Announced
	Faults  []Fault
}

// Announced is a device that is announced to Home Assistant.
type Announced struct {
	Sender   bridge.SenderID // 0: the gateway's own device, or a channel's
	Name     string          // the sender's
	Device   string          // its name in Home Assistant
	Entities []Entity
}

// Entity is one entity of a device.
type Entity struct {
	Component string // sensor, event, notify, button
	Name      string
	Template  string // the device's own, or else the one by which Home Assistant reads the state; empty: it has none
	State     []byte // the last payload that the template gets; nil: none is known
}

// Fault is what was refused of a sender's last description.
type Fault struct {
	Sender  bridge.SenderID
	Name    string
	Channel bridge.Channel
	Fault   string
}

// faultsMost bounds the faults that are remembered.
const faultsMost = 256

// Snapshot returns what is announced now: first the gateway, then channels that are
// devices of their own, then the devices by name.
func (s *Service) Snapshot() Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	var now Snapshot
	if at := s.birth.Load(); at != 0 {
		now.Birth = time.UnixMilli(at)
	}
	want := s.wantedLocked()
	if d, ok := want[s.topic(s.gatewayID())]; ok {
		now.Devices = append(now.Devices, s.announced(d, nil))
	}
	for _, c := range s.channels() {
		if d, ok := want[s.topic(s.channelID(c))]; ok {
			now.Devices = append(now.Devices, s.announced(d, nil))
		}
	}
	byName := func(a, b *device) int { return cmp.Compare(a.name, b.name) }
	for _, d := range slices.SortedFunc(maps.Values(s.devices), byName) {
		if message, ok := want[s.topic(s.deviceID(d.name))]; ok {
			now.Devices = append(now.Devices, s.announced(message, d))
		}
	}
	for _, id := range slices.Sorted(maps.Keys(s.faults)) {
		now.Faults = append(now.Faults, s.faults[id])
	}
	return now
}

// announced returns the device of a discovery message; d is nil for the gateway's own
// and for a channel's.
func (s *Service) announced(m discovery, d *device) Announced {
	a := Announced{Device: m.Device["name"].(string)}
	if d != nil {
		a.Sender, a.Name = d.sender, d.name
	}
	for _, key := range slices.Sorted(maps.Keys(m.Components)) {
		c := m.Components[key]
		e := Entity{Component: c["platform"].(string)}
		e.Name, _ = c["name"].(string)
		e.Template, _ = c["value_template"].(string)
		if own := d.ownTemplate(key); own != "" {
			e.Template = own
		}
		if topic, ok := c["state_topic"].(string); ok && d != nil && topic == s.stateTopic(d.channel, d.sender) {
			e.State = d.state
		} else if ok {
			e.State = s.bus.Retained(topic)
		}
		a.Entities = append(a.Entities, e)
	}
	return a
}

// ownTemplate returns the template that a device brought for one of its components, or "".
func (d *device) ownTemplate(component string) string {
	if d != nil {
		for _, e := range d.description.entities {
			if e.id() == component {
				return e.text("value")
			}
		}
	}
	return ""
}

// noteFault remembers what is wrong with a sender's description, until its next good one. It
// reports whether that is new.
func (s *Service) noteFault(m *bridge.Message, fault string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	before, known := s.faults[m.Sender]
	if !known && len(s.faults) >= faultsMost {
		for other := range s.faults { // any one makes room
			delete(s.faults, other)
			break
		}
	}
	s.faults[m.Sender] = Fault{m.Sender, m.Name, m.Channel, fault}
	return before.Fault != fault
}
