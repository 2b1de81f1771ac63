"""An entity of Home Assistant's MQTT integration: its topics, its availability, its state.

platforms.py has what differs by platform.
"""

import datetime
import time

import platforms
from payloads import DEFAULT, loads, render

BLOCKED = {
    "assumed_state", "available", "device_class", "device_info", "entity_category", "entity_picture",
    "entity_registry_enabled_default", "extra_state_attributes", "force_update", "friendly_name", "icon",
    "should_poll", "state", "supported_features", "unique_id", "unit_of_measurement",
}
NOT_NUMERIC = {"date", "enum", "timestamp", "uptime"}


class Entity:
    def __init__(self, house, key, unique_id):
        self.house, self.key, self.unique_id = house, key, unique_id
        self.config = None
        self.state, self.attributes = "unknown", {}
        self.online, self.expires, self.off_at = set(), None, None  # online: the availability topics that say so

    def configure(self, config):
        self.config = config
        if config.get("expire_after") and self.expires is None:
            self.expires = 0

    def availability(self):
        """Each availability topic with its payloads; all of them count."""
        c = self.config or {}
        if "availability_topic" in c:
            return {c["availability_topic"]: c}
        assert c.get("availability_mode") == "all" or len(c.get("availability", [])) < 2
        return {a["topic"]: a for a in c.get("availability", [])}

    def roles(self):
        """Its topics, each with the key that names it."""
        keys = platforms.TOPICS + ["json_attributes_topic", "topic"]
        named = {(k, self.config[k]) for k in keys if k in (self.config or {})}
        return named | {("availability", topic) for topic in self.availability()}

    def topics(self):
        return {topic for _, topic in self.roles()}

    def available(self):
        if not self.house.connected:
            return False
        if not set(self.availability()) <= self.online:
            return False
        return self.expires is None or time.monotonic() < self.expires

    def numeric(self):
        c = self.config
        return c.get("device_class") not in NOT_NUMERIC and any(c.get(k) for k in ("device_class", "state_class", "unit_of_measurement"))

    def receive(self, topic, raw, retained):
        c = self.config
        try:
            payload = raw.decode(c.get("encoding", "utf-8"))
        except UnicodeDecodeError:
            self.house.error(f"{topic}: payload is not UTF-8")
            return
        if a := self.availability().get(topic):
            said = render(a.get("availability_template") or a.get("value_template"), payload)
            if said == a.get("payload_available", "online"):
                self.online.add(topic)
            elif said == a.get("payload_not_available", "offline"):
                self.online.discard(topic)
        if topic == c.get("json_attributes_topic"):
            self.receive_attributes(payload)
        if topic == c.get("state_topic"):
            if c["platform"] == "sensor":
                self.receive_sensor(payload)
            elif c["platform"] == "event":
                self.receive_event(payload, retained)
        if c["platform"] in platforms.RECEIVERS:
            platforms.receive(self, topic, payload)
        if topic == c.get("topic") and render(c.get("value_template"), payload) == c["payload"]:
            self.house.say({"is": "fired", "entity": f"{c['type']} {c['subtype']}", "attributes": {}})

    def receive_attributes(self, payload):
        said = render(self.config.get("json_attributes_template"), payload)
        if said is DEFAULT:
            return
        try:
            attributes = loads(said)
        except ValueError:
            self.house.error(f"{self.unique_id}: attributes are not JSON: {said[:80]!r}")
            return
        if not isinstance(attributes, dict):
            self.house.error(f"{self.unique_id}: attributes are not an object")
            return
        self.attributes = {k: v for k, v in attributes.items() if k not in BLOCKED}

    def receive_sensor(self, payload):
        c = self.config
        if c.get("expire_after"):
            self.expires = time.monotonic() + c["expire_after"]
        said = render(c.get("value_template"), payload)
        if said is DEFAULT or said == "" and self.numeric():
            return
        if said == "None":
            self.state = "unknown"
            return
        if len(said) > 255:
            self.state = "unknown"
            self.house.error(f"{self.unique_id}: state of {len(said)} characters")
            return
        if self.numeric():
            try:
                float(said)
            except ValueError:
                self.house.error(f"{self.unique_id}: {said!r} is no number")
                return
        if c.get("device_class") in ("timestamp", "uptime"):
            said = datetime.datetime.fromisoformat(said).astimezone(datetime.timezone.utc).isoformat()
        self.state = said

    def receive_event(self, payload, retained):
        if retained:
            return
        said = render(self.config.get("value_template"), payload)
        if said is DEFAULT or said in ("", "None", "{}"):
            return
        try:
            attributes = loads(said)
            kind = str(attributes.pop("event_type"))
        except (ValueError, KeyError, AttributeError):
            self.house.error(f"{self.unique_id}: no event: {said[:80]!r}")
            return
        if kind not in self.config["event_types"]:
            self.house.error(f"{self.unique_id}: event type {kind!r}")
            return
        self.state = str(time.time())
        self.attributes = dict(attributes, event_type=kind)
        self.house.say({"is": "fired", "entity": self.entity_id(), "attributes": self.attributes})

    def entity_id(self):
        return self.house.registry[self.unique_id]["entity_id"]
