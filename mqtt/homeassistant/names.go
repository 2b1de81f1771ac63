package homeassistant

import (
	"strconv"
	"strings"

	"watchtower/bridge"
)

// escape turns a name (A–Z a–z 0–9 _ . -) into an id of Home Assistant's, which
// has no dot, so that no two names become the same: _ is doubled, and a dot is
// _-. Nothing that is put behind an id with one _ begins with _ or -.
func escape(name string) string {
	return strings.NewReplacer("_", "__", ".", "_-").Replace(name)
}

// slug makes a proposal for an entity's id, which is lower case and where
// collisions do no harm.
func slug(name string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, strings.ToLower(name))
}

// gatewayID is the gateway's as a device.
func (s *Service) gatewayID() string { return "watchtower_" + escape(s.tree.Gateway()) }

// deviceID is that of a device that described itself.
func (s *Service) deviceID(sender bridge.SenderID) string {
	return s.gatewayID() + "_" + strconv.FormatUint(uint64(sender), 10)
}

// topic is where a device's discovery is.
func (s *Service) topic(id string) string { return s.opts.Prefix + "/device/" + id + "/config" }

func (s *Service) eventTopic(c bridge.Channel) string { return s.tree.HomeAssistant(c, "event") }
func (s *Service) lastTopic(c bridge.Channel) string  { return s.tree.HomeAssistant(c, "last") }

func (s *Service) stateTopic(c bridge.Channel, sender bridge.SenderID) string {
	return s.tree.HomeAssistant(c, "state/"+strconv.FormatUint(uint64(sender), 10))
}
