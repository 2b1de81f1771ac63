package homeassistant

import (
	"strconv"
	"strings"

	"watchtower/bridge"
)

// escape turns a name (A–Z a–z 0–9 _ . : -) into a part of an id of Home
// Assistant's, which has no dot. No two names become the same, and none has a _
// any more, which stands between the parts.
func escape(name string) string {
	return strings.NewReplacer("-", "--", "_", "-u", ".", "-d", ":", "-c").Replace(name)
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

// GatewayID is a gateway's id as a device. Those of devices that describe themselves
// begin with it and a _.
func GatewayID(gateway string) string { return "watchtower_" + escape(gateway) }

func (s *Service) gatewayID() string { return GatewayID(s.tree.Gateway()) }

// deviceID is that of a device that described itself. It is made of the name: a
// sender that is deleted and registers again is the same device to people, and
// has to be the same in Home Assistant's registry.
func (s *Service) deviceID(name string) string { return s.gatewayID() + "_" + escape(name) }

// topic is where a device's discovery is.
func (s *Service) topic(id string) string {
	return s.opts.DiscoveryPrefix + "/device/" + id + "/config"
}

func (s *Service) eventTopic(c bridge.Channel) string { return s.tree.HomeAssistant(c, "event") }
func (s *Service) lastTopic(c bridge.Channel) string  { return s.tree.HomeAssistant(c, "last") }

// liveTopic carries the same for sensors that expire, and is not retained.
func (s *Service) liveTopic(c bridge.Channel, sender bridge.SenderID) string {
	return s.tree.HomeAssistant(c, "live/"+strconv.FormatUint(uint64(sender), 10))
}

func (s *Service) stateTopic(c bridge.Channel, sender bridge.SenderID) string {
	return s.tree.HomeAssistant(c, "state/"+strconv.FormatUint(uint64(sender), 10))
}
