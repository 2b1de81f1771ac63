"""What Home Assistant's MQTT platforms do with payloads, and what they send when called.

Written from Home Assistant's documentation and the behaviour of its core, as house.py is.
What Home Assistant would write to its log is an error here, and so is what it ignores in
silence: a template has no reason to make such a payload.

receive(e, topic, payload) changes e.state and e.attributes. call(e, service, data) returns
what is sent: a list of topics and payloads. An entity without a state topic is optimistic:
it takes what it sent for its state.
"""

import json
import time

from payloads import render

TOPICS = ["state_topic", "position_topic", "percentage_state_topic"]
DEFAULTS = {
    "lock": {"payload_lock": "LOCK", "payload_unlock": "UNLOCK"},
    "cover": {"payload_open": "OPEN", "payload_close": "CLOSE", "payload_stop": "STOP"},
    "valve": {"payload_open": "OPEN", "payload_close": "CLOSE"},
    "fan": {"payload_on": "ON", "payload_off": "OFF"},
    "switch": {"payload_on": "ON", "payload_off": "OFF"},
}


def receive(e, topic, payload):
    for key in TOPICS:
        if topic == e.config.get(key):
            RECEIVERS[e.config["platform"]](e, key, payload)


def value(e, template, payload):
    """The rendered payload; a template that fails gives nothing."""
    said = render(e.config.get(template), payload)
    return said if isinstance(said, str) else ""


def chosen(e, said, states):
    """One of some states by what was said; None is unknown."""
    if said == "None":
        e.state = "unknown"
    elif said in states:
        e.state = states[said]
    elif said:
        e.house.error(f"{e.unique_id}: {said!r} is none of {sorted(states)}")


def binary_sensor(e, key, payload):
    said = value(e, "value_template", payload)
    chosen(e, said, {e.config.get("payload_on", "ON"): "on", e.config.get("payload_off", "OFF"): "off"})
    if said:
        delay = e.config.get("off_delay")
        e.off_at = time.monotonic() + delay if delay and e.state == "on" else None


def switch(e, key, payload):
    c = {**DEFAULTS["switch"], **e.config}
    on, off = c.get("state_on", c["payload_on"]), c.get("state_off", c["payload_off"])
    said = value(e, "value_template", payload)
    chosen(e, said, {on: "on", off: "off"})
    if not said:
        e.house.error(f"{e.unique_id}: an empty state")


def number(e, key, payload):
    said = value(e, "value_template", payload)
    if said == "None":
        e.state = "unknown"
    elif said.strip():
        try:
            n = float(said)
        except ValueError:
            e.house.error(f"{e.unique_id}: {said!r} is no number")
            return
        if not e.config.get("min", 1) <= n <= e.config.get("max", 100):
            e.house.error(f"{e.unique_id}: {said} is out of range")
            return
        e.state = said


def select(e, key, payload):
    chosen(e, value(e, "value_template", payload), {o: o for o in e.config["options"]})


def text(e, key, payload):
    said = value(e, "value_template", payload)
    if len(said) > min(255, e.config.get("max", 255)):
        e.house.error(f"{e.unique_id}: a text of {len(said)} characters")
        return
    e.state = said


def light(e, key, payload):
    chosen(e, value(e, "state_template", payload), {"on": "on", "off": "off"})
    if "brightness_template" in e.config:
        try:
            brightness = int(value(e, "brightness_template", payload) or 0)
        except ValueError as problem:
            e.house.error(f"{e.unique_id}: brightness: {problem}")
            return
        if not 0 <= brightness <= 255:
            e.house.error(f"{e.unique_id}: brightness {brightness}")
        elif brightness:
            e.attributes["brightness"] = brightness
    if "red_template" in e.config:
        parts = [value(e, color + "_template", payload) for color in ("red", "green", "blue")]
        try:
            e.attributes["rgb_color"] = None if parts == ["None"] * 3 else [int(p) for p in parts]
        except ValueError as problem:
            e.house.error(f"{e.unique_id}: colour: {problem}")


def cover(e, key, payload):
    if key == "position_topic":
        said = value(e, "position_template", payload)
        try:
            if said:
                e.attributes["current_position"] = min(100, max(0, int(float(said))))
        except ValueError as problem:
            e.house.error(f"{e.unique_id}: position: {problem}")
        return
    said = value(e, "value_template", payload)
    if said == "stopped" and "position_topic" in e.config:
        e.state = "closed" if e.attributes.get("current_position") == 0 else "open"
    elif said == "stopped":
        e.state = "closed" if e.state in ("closed", "closing") else "open"
    else:
        chosen(e, said, {s: s for s in ("open", "closed", "opening", "closing")})


def valve(e, key, payload):
    said = value(e, "value_template", payload)
    if not e.config.get("reports_position"):
        chosen(e, said, {s: s for s in ("open", "closed", "opening", "closing")})
    elif said in ("opening", "closing"):
        e.state = said
    elif said == "None":
        e.state, e.attributes["current_position"] = "unknown", None
    elif said:
        try:
            position = min(100, max(0, int(float(said))))
        except ValueError as problem:
            e.house.error(f"{e.unique_id}: position: {problem}")
            return
        e.state, e.attributes["current_position"] = "open" if position else "closed", position


def lock(e, key, payload):
    chosen(e, value(e, "value_template", payload), {s.upper(): s for s in ("locked", "unlocked", "locking", "unlocking", "jammed")})


def fan(e, key, payload):
    c = {**DEFAULTS["fan"], **e.config}
    if key == "state_topic":
        chosen(e, value(e, "state_value_template", payload), {c["payload_on"]: "on", c["payload_off"]: "off"})
        return
    said = value(e, "percentage_value_template", payload)
    try:
        if said:
            e.attributes["percentage"] = None if said == "None" else int(said)
    except ValueError as problem:
        e.house.error(f"{e.unique_id}: speed: {problem}")


def update(e, key, payload):
    said = value(e, "value_template", payload)
    if not said or said == "{}":
        return
    try:
        news = json.loads(said)
    except ValueError:
        news = {"installed_version": said}
    for k, v in news.items():
        if k in ("installed_version", "latest_version", "title") and not isinstance(v, str) or k == "in_progress" and not isinstance(v, bool):
            e.house.error(f"{e.unique_id}: {k} is {v!r}")
            return
        e.attributes[k] = v
    installed, latest = e.attributes.get("installed_version"), e.attributes.get("latest_version")
    e.state = "unknown" if not installed or not latest else "off" if installed == latest else "on"


RECEIVERS = {
    "binary_sensor": binary_sensor, "switch": switch, "number": number, "select": select, "text": text, "light": light,
    "cover": cover, "valve": valve, "lock": lock, "fan": fan, "update": update,
}


def call(e, service, data):
    """What a service sends."""
    c = {**DEFAULTS.get(e.config["platform"], {}), **e.config}
    command = c.get("command_topic")

    def sent(payload, state, **attributes):
        if "state_topic" not in c or c.get("optimistic"):
            e.state = state
            e.attributes.update(attributes)
        return [(command, render(c.get("command_template"), payload, {}))]

    match c["platform"], service:
        case "switch" | "fan", "turn_on" | "turn_off" if "percentage" not in data:
            return sent(c["payload_" + service[5:]], service[5:])
        case "fan", "turn_on" | "set_percentage":
            n = data["percentage"]
            first = sent(c["payload_on"], "on") if service == "turn_on" else []
            if "percentage_state_topic" not in c:
                e.attributes["percentage"] = n
            return first + [(c["percentage_command_topic"], render(c.get("percentage_command_template"), str(n), {}))]
        case "number", "set_value":
            n = data["value"]
            return sent(str(int(n) if float(n).is_integer() else n), str(n))
        case "text", "set_value":
            return sent(data["value"], data["value"])
        case "select", "select_option":
            return sent(data["option"], data["option"])
        case "light", "turn_on":
            given = {k: v for k, v in data.items() if k == "brightness"}
            if "rgb_color" in data:
                given.update(zip(("red", "green", "blue"), data["rgb_color"]))
            sent("", "on", **data)
            return [(command, render(c["command_on_template"], None, {"state": True, **given}))]
        case "light", "turn_off":
            sent("", "off")
            return [(command, render(c["command_off_template"], None, {"state": False}))]
        case "cover", "set_cover_position":
            n = data["position"]
            sent("", "open" if n else "closed", current_position=n)
            return [(c["set_position_topic"], render(c.get("set_position_template"), str(n), {"position": n}))]
        case "cover", "open_cover" | "close_cover":
            sent("", "open" if service == "open_cover" else "closed")
            return [(command, c["payload_" + service.split("_")[0]])]
        case "cover", "stop_cover":
            return [(command, c["payload_stop"])]
        case "valve", "set_valve_position":
            n = data["position"]
            return sent(str(n), "open" if n else "closed", current_position=n)
        case "valve", "open_valve" | "close_valve":
            if c.get("reports_position"): # Home Assistant sets the position then
                return call(e, "set_valve_position", {"position": 100 if service == "open_valve" else 0})
            return sent(c["payload_" + service.split("_")[0]], "open" if service == "open_valve" else "closed")
        case "lock", "lock" | "unlock":
            return sent(c["payload_" + service], service + "ed")
        case "update", "install":
            return [(command, c["payload_install"])]
    raise KeyError(f"{c['platform']} has no {service}")
