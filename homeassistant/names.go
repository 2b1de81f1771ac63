package homeassistant

import (
	"strconv"
	"strings"

	"watchtower/bridge"
)

// escape turns a name (A–Z a–z 0–9 _ . : -) into a part of an id in Home Assistant. The
// result has no dot, which ids must not have, and no _, which separates the parts. Different
// names give different results.
func escape(name string) string {
	return strings.NewReplacer("-", "--", "_", "-u", ".", "-d", ":", "-c").Replace(name)
}

// slug turns a name into a proposal for an entity id, in lower case. Two names may give the
// same one, which does no harm.
func slug(name string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, strings.ToLower(name))
}

// GatewayID returns the id of a gateway's device. The ids of devices that describe
// themselves begin with it and a _.
func GatewayID(gateway string) string { return "watchtower_" + escape(gateway) }

func (s *Service) gatewayID() string { return GatewayID(s.tree.Gateway()) }

// deviceID returns the id of a device that described itself. It is made of the name and not
// of the sender's id: if a sender is deleted and registers again, it must stay the same
// device in Home Assistant's registry.
func (s *Service) deviceID(name string) string { return s.gatewayID() + "_" + escape(name) }

// channelID returns the id of a channel's own device. No device that described itself has it:
// an escaped name has no _.
func (s *Service) channelID(c bridge.Channel) string { return s.gatewayID() + "_" + channelKey(c) }

// topic returns the discovery topic of a device.
func (s *Service) topic(id string) string {
	return s.opts.DiscoveryPrefix + "/device/" + id + "/config"
}

func (s *Service) eventTopic(c bridge.Channel) string { return s.tree.HomeAssistant(c, "event") }
func (s *Service) lastTopic(c bridge.Channel) string  { return s.tree.HomeAssistant(c, "last") }

// liveTopic returns the topic of a form for sensors that expire. It carries the same as
// valueTopic, but is not retained.
func (s *Service) liveTopic(f form, c bridge.Channel, sender bridge.SenderID) string {
	kind := "live"
	if f != objects {
		kind += "-" + string(f)
	}
	return s.tree.HomeAssistant(c, kind+"/"+strconv.FormatUint(uint64(sender), 10))
}

// valueTopic returns the topic of what a device said in a form.
func (s *Service) valueTopic(f form, c bridge.Channel, sender bridge.SenderID) string {
	return s.tree.HomeAssistant(c, string(f)+"/"+strconv.FormatUint(uint64(sender), 10))
}

// momentTopic carries the values that count once, as they come. It is not retained.
func (s *Service) momentTopic(c bridge.Channel, sender bridge.SenderID) string {
	return s.tree.HomeAssistant(c, "moment/"+strconv.FormatUint(uint64(sender), 10))
}

func (s *Service) stateTopic(c bridge.Channel, sender bridge.SenderID) string {
	return s.valueTopic(objects, c, sender)
}

// presenceTopic says whether a device that described itself is there.
func (s *Service) presenceTopic(c bridge.Channel, sender bridge.SenderID) string {
	return s.tree.HomeAssistant(c, "presence/"+strconv.FormatUint(uint64(sender), 10))
}
