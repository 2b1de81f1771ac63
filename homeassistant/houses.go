package homeassistant

import (
	"maps"
	"regexp"
	"slices"

	"watchtower/bridge"
)

// house is a Home Assistant that was born here, and what it may still know that is removed. It
// removes only what it has seen since its start, so what is removed while it is away is shown
// to it once more when it comes, and then removed.
type house struct {
	Born   int64                `json:"born"`             // the last time, in Unix seconds
	Ghosts map[string]discovery `json:"ghosts,omitempty"` // removed components, by topic
}

// housesMost is how many houses are known. One more makes the gateway forget the one that was
// born longest ago.
const housesMost = 8

// madeUp is a client id that Home Assistant makes up at each start if it was given none.
var madeUp = regexp.MustCompile(`^[0-9A-Za-z]{22}$`)

// houseName returns the name by which a house is known again: its sender's. All that have
// none, or a made-up one, are one house without a name.
func houseName(c bridge.Client) string {
	if name := c.Sender().Name(); !madeUp.MatchString(name) {
		return name
	}
	return ""
}

// onBirth gets the messages on the birth topic from the broker.
func (s *Service) onBirth(_ string, payload []byte, from bridge.Client) {
	word := string(payload)
	if from == nil || word != saysOnline && word != saysOffline {
		return
	}
	s.birth.Store(s.hub.Now().UnixMilli())
	s.mu.Lock()
	defer s.mu.Unlock()
	s.born = slices.DeleteFunc(s.born, func(c bridge.Client) bool { return !c.Connected() || c.Sender() == from.Sender() })
	maps.DeleteFunc(s.asleep, func(sender *bridge.Sender, _ struct{}) bool {
		return sender == from.Sender() || !s.hub.Known(sender.ID())
	})
	maps.DeleteFunc(s.homes, func(id bridge.SenderID, _ struct{}) bool { return !s.hub.Known(id) })
	if len(s.homes) < housesMost {
		s.homes[from.Sender().ID()] = struct{}{}
	}
	if word == saysOnline {
		s.born = append(s.born, from)
		signal(s.births)
	} else if from.Connected() {
		s.asleep[from.Sender()] = struct{}{}
	}
}

// takeBorn returns the houses whose birth is to be answered.
func (s *Service) takeBorn() []bridge.Client {
	s.mu.Lock()
	defer s.mu.Unlock()
	born := s.born
	s.born = nil
	return born
}

// witnesses returns the names of the houses that see what is published on a discovery topic
// now. They are there, whether they were born yet or not.
func (s *Service) witnesses(topic string) map[string]bool {
	names := map[string]bool{}
	all := s.bus.Subscribers(topic)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range all {
		if _, away := s.asleep[c.Sender()]; !away {
			names[houseName(c)] = true
		}
	}
	return names
}

// enter notes that a house was born. One that was not known may be an old one with another
// name: it gets the ghosts of all, but for what it saw go. The caller holds order.
func (s *Service) enter(name string) {
	h := s.known.Houses[name]
	if h == nil {
		h = &house{}
		for _, other := range s.known.Houses {
			for topic, ghost := range other.Ghosts {
				h.haunt(topic, ghost)
			}
		}
		h.lay(s.seen[name])
		s.known.Houses[name] = h
	}
	delete(s.seen, name)
	h.Born = s.hub.Now().Unix()
	for len(s.known.Houses) > housesMost {
		oldest := name
		for other, o := range s.known.Houses {
			if o.Born < s.known.Houses[oldest].Born {
				oldest = other
			}
		}
		delete(s.known.Houses, oldest)
	}
}

// haunt notes that components are about to be removed. If no house was ever born, the first
// one that comes may have known them all the same. The caller holds order.
func (s *Service) haunt(topic string, left discovery) {
	if len(s.known.Houses) == 0 {
		s.known.Houses[""] = &house{}
	}
	for _, h := range s.known.Houses {
		h.haunt(topic, left)
	}
}

// seenGone notes that a removal was published: the houses that were there by topic, and still
// are, have seen it. Until then it is on disk as unseen, in case the gateway is killed. The caller
// holds order.
func (s *Service) seenGone(gone map[string]discovery, witnesses map[string]map[string]bool) {
	there := map[string]bool{}
	for topic, left := range gone {
		names := s.witnesses(topic)
		maps.Copy(there, names)
		for name := range names {
			if !witnesses[topic][name] {
				continue // it came when that was gone
			}
			if h := s.known.Houses[name]; h != nil {
				h.lay(map[string]discovery{topic: left})
				continue
			}
			if s.seen[name] == nil {
				s.seen[name] = map[string]discovery{}
			}
			s.seen[name][topic] = left.with(s.seen[name][topic].Components)
		}
	}
	maps.DeleteFunc(s.seen, func(name string, _ map[string]discovery) bool { return !there[name] })
	_ = s.remember()
}

// The limits of a house's ghosts, so that devices which come and go for days do not fill the
// memory. Ghosts beyond them are forgotten.
const (
	ghostsMost = 256  // components of one topic
	hauntsMost = 1024 // topics
	allGhosts  = 2048 // components of all topics: about a megabyte
)

// haunt adds to a topic's ghosts.
func (h *house) haunt(topic string, left discovery) {
	if h.Ghosts == nil {
		h.Ghosts = map[string]discovery{}
	}
	if all := left.with(h.Ghosts[topic].Components); len(all.Components) <= ghostsMost {
		left = all
	}
	h.Ghosts[topic] = left
	n := 0
	for _, ghost := range h.Ghosts {
		n += len(ghost.Components)
	}
	for other, ghost := range h.Ghosts { // in any order
		if len(h.Ghosts) <= hauntsMost && n <= allGhosts {
			break
		}
		if other != topic {
			n -= len(ghost.Components)
			delete(h.Ghosts, other)
		}
	}
}

// lay forgets the ghosts of these components: they are wanted again, or their removal was
// seen.
func (h *house) lay(components map[string]discovery) {
	for topic, ghost := range h.Ghosts {
		if ghost = ghost.missing(components[topic]); len(ghost.Components) > 0 {
			h.Ghosts[topic] = ghost
		} else {
			delete(h.Ghosts, topic)
		}
	}
}

// veiled returns a ghost as it is shown once more: nothing of it is available, so nobody sees
// an old state.
func (d discovery) veiled() discovery {
	veil := map[string]component{}
	for key, c := range d.Components {
		veil[key] = maps.Clone(c)
		unavailable := slices.Clone(d.Availability)
		for i := range unavailable {
			unavailable[i].Available = "never"
		}
		veil[key]["availability"] = unavailable
	}
	d.Components = veil
	return d
}

// onRemoval is called when a house removes a device, as its owner did by hand. It may not
// come back before it describes itself again, so that is on disk first. The gateway's own
// device comes back at once: it is removed by the configuration.
func (s *Service) onRemoval(topic string, remove func()) error {
	s.order.Lock()
	defer s.order.Unlock()
	old, there := s.known.Topics[topic]
	if !there {
		return nil // a house says it once for each entity
	}
	d := s.drop(topic)
	if d == nil {
		remove()
		delete(s.known.Topics, topic) // as if it was never published
		signal(s.changed)
		return nil
	}
	devices := s.known.Devices
	s.known.Devices = slices.DeleteFunc(slices.Clone(devices), func(r remembered) bool { return r.Sender == d.sender })
	delete(s.known.Topics, topic)
	s.haunt(topic, old)
	if err := s.remember(); err != nil {
		s.known.Devices, s.known.Topics[topic] = devices, old
		s.mu.Lock()
		s.devices[d.sender] = d
		s.mu.Unlock()
		return err
	}
	names := s.witnesses(topic)
	remove()
	s.seenGone(map[string]discovery{topic: old}, map[string]map[string]bool{topic: names})
	signal(s.changed) // its states are cleared later
	return nil
}

// drop forgets the device of a discovery topic, and returns it; nil: there is none.
func (s *Service) drop(topic string) *device {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range s.devices {
		if s.topic(s.deviceID(d.name)) == topic {
			s.dropLocked(d)
			return d
		}
	}
	return nil
}
