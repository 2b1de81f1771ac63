package homeassistant

import "strings"

// The components of the kinds. All translation between a device's words and Home Assistant's
// is done by Home Assistant, with the templates here. Each takes what the device was sent
// for its answer too, and none fails: an odd value is unknown.

func sensor(e entity, w wiring) []part {
	c := component{"state_topic": w.state, "value_template": sensorTemplate(e)}
	c.take(e, map[string]string{"state_class": "state_class"})
	c.unit(e)
	if n := e.whole("expire_after"); n > 0 {
		c["expire_after"] = n
	}
	if n := e.whole("precision"); n >= 0 {
		c["suggested_display_precision"] = n
	}
	if e.flag("force") {
		c["force_update"] = true
	}
	if all := e.list("options"); len(all) > 0 {
		c["options"], c["device_class"] = all, classEnum
	}
	return one(c)
}

func binarySensor(e entity, w wiring) []part {
	c := component{"state_topic": w.state, "value_template": onOff(e.key, e.text("on"), e.text("off"), "none")}
	if n := e.whole("off_delay"); n > 0 {
		c["off_delay"] = n
		c["value_template"] = onOff(e.key, e.text("on"), e.text("off"), "''") // other messages say nothing of it
	}
	return one(c)
}

func toggle(e entity, w wiring) []part {
	on, off := e.text("on"), e.text("off")
	c := component{"command_topic": w.tell, "payload_on": e.key + " " + on, "payload_off": e.key + " " + off}
	if c.reads(w, "value_template", onOff(e.key, on, off, "none")) {
		c["state_on"], c["state_off"] = "ON", "OFF"
	}
	return one(c)
}

func number(e entity, w wiring) []part {
	c := component{"command_topic": w.tell, "command_template": send(e.key), "min": e.amount("min"), "max": e.amount("max"), "step": e.amount("step")}
	c.unit(e)
	c.reads(w, "value_template", within(e.key, e.amount("min"), e.amount("max")))
	return one(c)
}

func selection(e entity, w wiring) []part {
	c := component{"command_topic": w.tell, "command_template": send(e.key), "options": e.list("options")}
	c.reads(w, "value_template", oneOf("{% set v = "+valueOf(e.key)+" %}", e.list("options")))
	return one(c)
}

func texts(e entity, w wiring) []part {
	c := component{"command_topic": w.tell, "command_template": send(e.key), "max": e.whole("max")}
	c.reads(w, "value_template", "{% set v = "+valueOf(e.key)+" %}{{ (v | string)[:"+decimal(float64(e.whole("max")))+"] if v is not none }}")
	return one(c)
}

// light uses Home Assistant's template schema. A light with colour has brightness too: Home
// Assistant knows no other.
func light(e entity, w wiring) []part {
	color := e.flag("color")
	bright := color || e.flag("brightness")
	c := component{"schema": "template", "command_topic": w.tell, "command_off_template": e.key + " off"}
	sent, state := "{{ '"+e.key+" on' }}", onOff(e.key, "on", "off", "none")
	if bright {
		sent = e.key + " {{ brightness | int if brightness is defined else 'on' }}"
		state = lightState(e.key)
		c["brightness_template"] = asWord(e.key) + "{{ [w.split(' ')[0] | int(0), 255] | min }}"
	}
	if color {
		sent += "{{ ' #%02x%02x%02x' | format(red | int, green | int, blue | int) if red is defined }}"
		for i, name := range []string{"red", "green", "blue"} {
			c[name+"_template"] = colorPart(e.key, i)
		}
	}
	c["command_on_template"] = sent
	c.reads(w, "state_template", strings.ReplaceAll(strings.ReplaceAll(state, "'ON'", "'on'"), "'OFF'", "'off'"))
	return one(c)
}

func cover(e entity, w wiring) []part {
	c := component{"command_topic": w.tell, "payload_open": e.key + " open", "payload_close": e.key + " close", "payload_stop": e.key + " stop"}
	words := "['open', 'opening', 'closed', 'closing', 'stopped']"
	c.reads(w, "value_template", position(e.key, e.flag("position"), words))
	if !e.flag("position") {
		return one(c)
	}
	c["set_position_topic"], c["set_position_template"] = w.tell, e.key+" {{ position }}"
	c["position_topic"], c["position_template"] = w.state, percent(e.key)
	if !w.heard {
		c["optimistic"] = true // Home Assistant needs the topic all the same
	}
	return one(c)
}

func valve(e entity, w wiring) []part {
	c := component{"command_topic": w.tell}
	if e.flag("position") {
		c["reports_position"], c["command_template"] = true, e.key+" {{ value }}"
		c.reads(w, "value_template", valvePosition(e.key))
		return one(c)
	}
	c["payload_open"], c["payload_close"] = e.key+" open", e.key+" close"
	c.reads(w, "value_template", position(e.key, false, "['open', 'opening', 'closed', 'closing']"))
	return one(c)
}

func lock(e entity, w wiring) []part {
	c := component{"command_topic": w.tell, "payload_lock": e.key + " lock", "payload_unlock": e.key + " unlock"}
	c.reads(w, "value_template", asWord(e.key)+"{% set w = {'lock': 'locked', 'unlock': 'unlocked'}.get(w, w) %}"+
		"{{ w | upper if w in ['locked', 'unlocked', 'locking', 'unlocking', 'jammed'] else none }}")
	return one(c)
}

func fan(e entity, w wiring) []part {
	c := component{"command_topic": w.tell, "command_template": send(e.key), "payload_on": "on", "payload_off": "off"}
	state := onOff(e.key, "on", "off", "none")
	if e.flag("speed") {
		c["percentage_command_topic"], c["percentage_command_template"] = w.tell, send(e.key)
		state = moving(e.key)
		if w.heard {
			c["percentage_state_topic"], c["percentage_value_template"] = w.state, percent(e.key)
		}
	}
	c.reads(w, "state_value_template", strings.ReplaceAll(strings.ReplaceAll(state, "'ON'", "'on'"), "'OFF'", "'off'"))
	return one(c)
}

func event(e entity, w wiring) []part {
	return one(component{"state_topic": w.state, "event_types": e.list("types"), "value_template": "{% set v = " + valueOf(e.key) +
		" | string %}{{ {'event_type': v} | tojson if v in " + literals(e.list("types")) + " else '' }}"})
}

// trigger has a component for each of its types.
func trigger(e entity, w wiring) (all []part) {
	for _, kind := range e.list("types") {
		all = append(all, part{"_" + escape(kind), component{
			"automation_type": "trigger", "topic": w.state, "type": kind, "subtype": e.key,
			"payload": kind, "value_template": "{{ " + valueOf(e.key) + " | default('', true) }}",
		}})
	}
	return all
}

func update(e entity, w wiring) []part {
	c := component{"command_topic": w.tell, "payload_install": e.key + " install", "state_topic": w.state, "value_template": versions(e.key)}
	c.take(e, map[string]string{"title": "title"})
	return one(c)
}

func button(e entity, w wiring) []part {
	return one(component{"command_topic": w.tell, "payload_press": e.key})
}

// reads adds the topic and template of the entity's state, if the device has said one; it
// reports whether it did. Without them Home Assistant takes what was sent for the state.
func (c component) reads(w wiring, key, template string) bool {
	if !w.heard {
		return false
	}
	c["state_topic"], c[key] = w.state, template
	return true
}

// take copies options that are texts, under Home Assistant's keys.
func (c component) take(e entity, keys map[string]string) {
	for option, key := range keys {
		if s := e.text(option); s != "" {
			c[key] = s
		}
	}
}

func (c component) unit(e entity) {
	if unit := e.text("unit"); unit != "" {
		c["unit_of_measurement"] = unitOf(unit)
	}
}

// common adds the keys that every entity has.
func (c component) common(e entity) {
	c.take(e, map[string]string{"icon": "icon", "category": "entity_category"})
	if class := e.text("device_class"); class != "" {
		c["device_class"] = class
	}
	if enabled, said := e.options["enabled"].(bool); said && !enabled {
		c["enabled_by_default"] = false
	}
}
