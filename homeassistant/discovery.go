package homeassistant

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"

	"watchtower/bridge"
)

// discovery is the discovery message of one device. Home Assistant rejects a message with
// other root keys.
type discovery struct {
	Device       map[string]any       `json:"device"`
	Origin       map[string]any       `json:"origin"`
	Availability []availability       `json:"availability"` // all of them have to say online
	Mode         string               `json:"availability_mode"`
	QoS          int                  `json:"qos"`
	Components   map[string]component `json:"components"`
}

// availability is a topic that says whether a device is available.
type availability struct {
	Topic string `json:"topic"`
	// Available is the payload that says so; empty: online.
	Available string `json:"payload_available,omitempty"`
}

// component is one entity, by the keys of its platform.
type component map[string]any

// payload returns the discovery message as JSON.
func (d discovery) payload() []byte { return encode(d) }

func (d discovery) equal(o discovery) bool { return bytes.Equal(d.payload(), o.payload()) }

// with returns d with further components. If both have a key, the component of d stays.
func (d discovery) with(more map[string]component) discovery {
	all := map[string]component{}
	maps.Copy(all, more)
	maps.Copy(all, d.Components)
	d.Components = all
	return d
}

// missing returns d with only those components that o does not have.
func (d discovery) missing(o discovery) discovery {
	left := map[string]component{}
	for key, c := range d.Components {
		if _, ok := o.Components[key]; !ok {
			left[key] = c
		}
	}
	d.Components = left
	return d
}

// without returns the components with only their platform. Home Assistant takes that as
// their removal.
func (d discovery) without() map[string]component {
	stubs := map[string]component{}
	for key, c := range d.Components {
		stubs[key] = component{"platform": c["platform"]}
	}
	return stubs
}

// isStub reports whether components are what without returns.
func isStub(components map[string]component) bool {
	for _, c := range components {
		return len(c) == 1
	}
	return true
}

// encode returns v as JSON, without escapes for HTML. It cannot fail: v has only maps,
// slices, texts and numbers.
func encode(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// wantedLocked returns all wanted discovery messages by topic. The caller holds mu.
func (s *Service) wantedLocked() map[string]discovery {
	want := map[string]discovery{}
	if len(s.opts.Channels) == 0 {
		return want
	}
	want[s.topic(s.gatewayID())] = s.gateway()
	for _, c := range s.channels() {
		if s.opts.Apart[c] {
			want[s.topic(s.channelID(c))] = s.channelDevice(c)
		}
	}
	for _, d := range s.devices {
		want[s.topic(s.deviceID(d.name))] = s.lively(d, s.described(d))
	}
	return want
}

// frame returns a discovery message without components.
func (s *Service) frame(id string, device map[string]any) discovery {
	device["identifiers"] = []any{id}
	return discovery{
		Device:       device,
		Origin:       map[string]any{"name": "Watchtower", "sw_version": s.opts.Version},
		Availability: []availability{{Topic: s.tree.Status()}}, Mode: "all", QoS: 1, Components: map[string]component{},
	}
}

// add adds an entity to a device, with the keys that all entities have. Short is its name
// in entity ids, which people write into automations.
func (d discovery) add(key, short, platform, name string, c component) {
	id := d.Device["identifiers"].([]any)[0].(string)
	c["platform"], c["name"], c["unique_id"] = platform, name, id+"_"+key
	c["default_entity_id"] = platform + "." + slug(short)
	d.Components[key] = c
}

// gateway returns the gateway's own device, with the entities of the channels.
func (s *Service) gateway() discovery {
	id := s.gatewayID()
	d := s.frame(id, map[string]any{
		"name": "Watchtower " + s.tree.Gateway(), "manufacturer": "Watchtower", "model": "Gateway", "sw_version": s.opts.Version,
	})
	short := "watchtower_" + s.tree.Gateway() + "_"
	count := func(key, name, unit, state, icon string) {
		d.add(key, short+key, "sensor", name, component{
			"state_topic": s.tree.Info(), "value_template": "{{ value_json." + key + " }}", "unit_of_measurement": unit,
			"state_class": state, "entity_category": "diagnostic", "icon": icon,
		})
	}
	count("senders", "Senders", "senders", "measurement", "mdi:account-multiple")
	count("channels", "Channels", "channels", "measurement", "mdi:pound")
	count("messages_per_minute", "Messages a minute", "messages/min", "measurement", "mdi:message-flash")
	count("lost", "Lost messages", "messages", "total_increasing", "mdi:message-alert")
	d.add("describe", short+"describe", "button", "Ask devices to describe themselves", component{
		"command_topic": s.askTopic(), "payload_press": describeWord, "entity_category": "diagnostic", "icon": "mdi:account-question",
	})
	d.add("refused", short+"refused", "event", "Refused messages", component{
		"state_topic": s.tree.Refused(), "event_types": []any{refusedType}, "entity_category": "diagnostic", "icon": "mdi:message-off",
	})
	d.add("version", short+"version", "sensor", "Version", component{
		"state_topic": s.tree.Info(), "value_template": "{{ value_json.version }}", "entity_category": "diagnostic", "icon": "mdi:tag",
	})
	for _, c := range s.channels() {
		if !s.opts.Apart[c] {
			key, name := channelKey(c), s.names[c]
			s.addChannel(d, c, short+key, [4]string{key, key + "_last", key + "_members", key + "_say"}, [4]string{name, name + " last message", name + " members", name})
		}
	}
	return d
}

// channelDevice returns the device that a channel is if it does not belong to the gateway's. Its
// entities have ids of their own: a house that was away while the channel changed devices sees
// the new ones before the old ones go.
func (s *Service) channelDevice(c bridge.Channel) discovery {
	d := s.frame(s.channelID(c), map[string]any{
		"name": s.names[c], "manufacturer": "Watchtower", "model": "Channel", "via_device": s.gatewayID(),
	})
	s.addChannel(d, c, s.names[c], [4]string{"message", "last_message", "present", "speak"}, [4]string{"Message", "Last message", "Members", "Say"})
	return d
}

func channelKey(c bridge.Channel) string { return fmt.Sprintf("channel_%d", c) }

// addChannel adds the entities of a channel to a device: its messages, the last one, its members,
// and speaking on it, with these keys and names. Their templates also work with an empty payload,
// which removes a retained members topic.
// Short is the beginning of their entity ids.
func (s *Service) addChannel(d discovery, c bridge.Channel, short string, keys, names [4]string) {
	d.add(keys[0], short, "event", names[0], component{
		"state_topic": s.eventTopic(c), "event_types": []any{eventType}, "icon": "mdi:message-text",
	})
	d.add(keys[1], short+"_last", "sensor", names[1], component{
		"state_topic": s.lastTopic(c), "value_template": "{{ value_json.state }}",
		"json_attributes_topic": s.lastTopic(c), "json_attributes_template": "{{ value_json.attributes | tojson }}",
		"icon": "mdi:message-text-clock",
	})
	d.add(keys[2], short+"_members", "sensor", names[2], component{
		"state_topic": s.tree.Members(c), "value_template": "{{ value_json.count if value_json is defined else 0 }}",
		"json_attributes_topic":    s.tree.Members(c),
		"json_attributes_template": "{{ {'members': value_json.members if value_json is defined else []} | tojson }}",
		"state_class":              "measurement", "unit_of_measurement": "members", "icon": "mdi:account-group",
	})
	d.add(keys[3], short+"_say", "notify", names[3], component{"command_topic": s.tree.Say(c), "icon": "mdi:bullhorn"})
}

// described returns the discovery message of a device that described itself.
func (s *Service) described(d *device) discovery {
	out := s.frame(s.deviceID(d.name), d.description.device(d.name, s.gatewayID()))
	for _, e := range d.description.entities {
		w := wiring{state: s.valuesTopic(d, e), heard: e.says != echoes || d.heard[e.key], tell: s.tree.Tell(d.channel, d.sender)}
		for _, p := range e.describe(e, w) {
			if e.plain { // no entity: it has neither a name nor an id
				p.component["platform"] = e.platform
				out.Components[e.id()+p.suffix] = p.component
				continue
			}
			p.common(e)
			out.add(e.id()+p.suffix, d.name+"_"+e.key, e.platform, e.text("name"), p.component)
		}
	}
	for _, word := range d.description.commands {
		out.add("button_"+escape(word), d.name+"_"+word, "button", word, component{
			"command_topic": s.tree.Tell(d.channel, d.sender), "payload_press": word,
		})
	}
	return out
}

// valuesTopic returns where an entity's values are. After a restart a retained state would
// look new: so what expires, and what counts once, is on topics that are not retained.
func (s *Service) valuesTopic(d *device, e entity) string {
	switch {
	case e.momentary():
		return s.momentTopic(d.channel, d.sender)
	case e.whole("expire_after") > 0:
		return s.liveTopic(e.form(), d.channel, d.sender)
	}
	return s.valueTopic(e.form(), d.channel, d.sender)
}
