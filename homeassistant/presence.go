package homeassistant

import "time"

// What a device's presence topic says.
const (
	saysOnline  = "online"
	saysOffline = "offline"
)

// lively completes the discovery message of a device with what depends on its presence: it
// is available while it is there, and a command does not wait for it for ever. The expiry is
// said for each component, because a version of Home Assistant that does not know it refuses
// it only there without refusing the device.
func (s *Service) lively(d *device, m discovery) discovery {
	m.Availability = append(m.Availability, availability{Topic: s.presenceTopic(d.channel, d.sender)})
	tell := s.tree.Tell(d.channel, d.sender)
	for _, c := range m.Components {
		for _, topic := range c {
			if topic == tell && d.description.ttl > 0 {
				c["message_expiry_interval"] = d.description.ttl
				break
			}
		}
	}
	return m
}

// showPresence publishes what has changed of the devices' presence.
func (s *Service) showPresence() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range s.devices {
		if d.known {
			s.showLocked(d)
		}
	}
}

// showLocked publishes a device's presence if it has changed. A device is there while it is a
// member of its channel. One that sleeps is there, too, for some time after it spoke: its
// presence is retained for that time, over restarts, and the device is away once it is not
// retained any more. The caller holds mu.
func (s *Service) showLocked(d *device) {
	if s.quiet {
		return
	}
	member, topic := s.hub.Directory().Present(d.sender, d.channel), s.presenceTopic(d.channel, d.sender)
	asleep := time.Duration(d.description.availableFor) * time.Second
	spoke := d.spoke
	d.spoke = false
	word, lifetime := saysOffline, time.Duration(0)
	switch now := s.hub.Now(); {
	case asleep == 0:
		if member {
			word = saysOnline
		}
	case spoke, member && !now.Before(d.renews):
		word, lifetime, d.renews, d.shown = saysOnline, asleep, now.Add(asleep/2), ""
	case member, len(s.bus.Retained(topic)) > 0 && d.shown != saysOffline:
		return // as before
	}
	if word == d.shown {
		return
	}
	d.shown = word
	s.failed("presence not published", s.bus.PublishKept(topic, []byte(word), lifetime))
}
