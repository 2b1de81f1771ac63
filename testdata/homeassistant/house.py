"""A client that behaves as Home Assistant's MQTT integration does.

Written from Home Assistant's documentation and the behaviour of its core, not
from what the gateway sends. It connects as it does (MQTT 5 or 3.1.1, last will),
discovers devices, keeps a registry of entities by unique id in a file, computes
states with Jinja2, and says online on the birth topic. It is driven by JSON
lines on stdin, and answers on stdout:

    {"do": "states"}                                → {"is": "states", …}
    {"do": "news"}                                  the same, at the next news or after 200 ms
    {"do": "press", "entity": "button.x"}
    {"do": "call", "entity": "light.x", "service": "turn_on", "data": "{…}"}
    {"do": "notify", "entity": "notify.x", "message": "…"}
    {"do": "publish", "topic": "…", "message": "…"}
    {"do": "stop"}                                  a clean stop, with offline

The one argument is JSON: host, port, client, password, version (4 or 5), prefix,
birth, registry (a file).
"""

import json
import os
import re
import sys
import threading
import time

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

import payloads
import platforms
from entities import Entity

with open(os.path.join(os.path.dirname(__file__), "schemas.json"), encoding="utf-8") as table:
    SCHEMAS = json.load(table)  # Home Assistant's own


def slug(text):
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")


class House:
    def __init__(self, options):
        self.options = options
        self.lock = threading.RLock()
        self.heard = threading.Condition(self.lock)  # told whenever states may be others
        self.news = False  # since the last answer
        self.out = threading.Lock()
        self.errors, self.connected, self.births = payloads.ERRORS, False, 0
        self.discovered = {}  # topic → {component key: Entity}, of this life
        self.updates = {}     # topic → how many payloads
        self.registry = {}    # unique id → what outlives a restart
        if os.path.exists(options["registry"]):
            with open(options["registry"], encoding="utf-8") as f:
                self.registry = json.load(f)
        version = mqtt.MQTTv5 if options["version"] == 5 else mqtt.MQTTv311
        first = [mqtt.CallbackAPIVersion.VERSION1] if hasattr(mqtt, "CallbackAPIVersion") else []
        self.client = mqtt.Client(*first, client_id=options["client"], protocol=version)
        self.client.username_pw_set("homeassistant", options["password"])
        self.client.will_set(options["birth"], "offline", qos=0, retain=False)
        self.client.reconnect_delay_set(1, 1)
        self.client.on_connect = self.on_connect
        self.client.on_disconnect = self.on_disconnect
        self.client.on_subscribe = self.on_subscribe
        self.client.on_message = self.on_message
        self.discovery_mid = None
        self.asked = set()  # subscriptions that the gateway has not acknowledged

    def say(self, line):
        with self.out:
            print(json.dumps(line), flush=True)

    def tell(self):
        self.news = True
        self.heard.notify()

    def error(self, text):
        self.errors.append(text)

    def save(self):
        with open(self.options["registry"], "w", encoding="utf-8") as f:
            json.dump(self.registry, f)

    # The connection.

    def on_connect(self, client, userdata, flags, reason, properties=None):
        with self.lock:
            self.connected = True
            self.tell()
            self.asked.clear()
            for topic in {t for e in self.entities() for t in e.topics()}:
                self.subscribe(topic, 1)
            _, self.discovery_mid = client.subscribe([(self.options["prefix"] + "/+/+/config", 0), (self.options["prefix"] + "/+/+/+/config", 0)])

    def on_disconnect(self, client, userdata, reason, properties=None):
        with self.lock:
            self.connected = False
            for e in self.entities():
                e.online.clear()
            self.tell()

    def on_subscribe(self, client, userdata, mid, granted, properties=None):
        with self.lock:
            self.asked.discard(mid)
            self.tell()
            if mid == self.discovery_mid:
                client.publish(self.options["birth"], "online", qos=0, retain=False)
                self.births += 1
                self.say({"is": "connected"})

    def on_message(self, client, userdata, m):
        with self.lock:
            try:
                match = re.fullmatch(re.escape(self.options["prefix"]) + r"/device/([a-zA-Z0-9_-]+)/config", m.topic)
                if match:
                    self.discover(m.topic, m.payload)
                for e in list(self.entities()):
                    if m.topic in e.topics():
                        e.receive(m.topic, m.payload, m.retain)
            except Exception as problem:  # a client that dies in silence fails no test
                self.error(f"{m.topic}: {problem!r}")
            self.tell()

    def entities(self):
        return [e for found in self.discovered.values() for e in found.values()]

    # Discovery.

    def discover(self, topic, payload):
        self.updates[topic] = self.updates.get(topic, 0) + 1
        if not payload:
            for e in self.discovered.pop(topic, {}).values():
                self.remove(e)
            return
        try:
            config = payloads.loads(payload.decode())
        except ValueError:
            self.error(f"{topic}: not JSON")
            return
        # With another root key, Home Assistant rejects the whole payload.
        if set(config) - set(SCHEMAS["root"]) or not {"device", "origin", "components"} <= set(config):
            self.error(f"{topic}: root keys {sorted(config)}")
            return
        device = config["device"]
        if not device.get("identifiers") and not device.get("connections") or not config["origin"].get("name"):
            self.error(f"{topic}: device or origin")
            return
        shared = {k: v for k, v in config.items() if k not in ("device", "origin", "components")}
        for key, component in config["components"].items():
            self.discover_component(topic, key, component, shared, device)

    def discover_component(self, topic, key, component, shared, device):
        found = self.discovered.setdefault(topic, {})
        known = found.get(key)
        if set(component) == {"platform"}:
            if known:
                del found[key]
                self.remove(known)
            return
        if component["platform"] == "device_automation":
            self.discover_trigger(topic, key, component, shared)
            return
        keys = SCHEMAS["platforms"][component["platform"]]
        missing = [k for k, rule in keys.items() if (rule.get("required") or k == "unique_id") and k not in component]
        if missing:
            self.error(f"{topic}: {key} has no {missing}")
            return
        if dropped := set(component) - set(keys) - {"platform"}:
            self.error(f"{topic}: {key} has {dropped}, which are dropped silently")
        config = {**shared, **component, "device": device}
        if known is None:
            if any(e.unique_id == component["unique_id"] for e in self.entities()):
                self.error(f"{topic}: {key}: {component['unique_id']} exists already")
                return
            known = found[key] = Entity(self, key, component["unique_id"])
        elif known.config == config:
            return
        before = known.roles()
        known.configure(config)
        self.register(known, component, device)
        for t in {topic for _, topic in known.roles() - before}: # a new role of a topic needs its retained message too
            self.subscribe(t, component.get("qos", shared.get("qos", 0)))
        self.unsubscribe({topic for _, topic in before})

    def discover_trigger(self, topic, key, component, shared):
        """A trigger is no entity: it has no id, no name and no availability."""
        missing = {"automation_type", "topic", "type", "subtype"} - set(component)
        if missing or component["automation_type"] != "trigger":
            self.error(f"{topic}: {key} has no {missing}")
            return
        e = self.discovered[topic].setdefault(key, Entity(self, key, None))
        before = e.topics()
        e.configure(component)
        for t in e.topics() - before:
            self.subscribe(t, shared.get("qos", 0))
        self.unsubscribe(before)

    def register(self, e, component, device):
        r = self.registry.setdefault(e.unique_id, {})
        if "entity_id" not in r:
            wish = component.get("default_entity_id") or component["platform"] + "." + slug(device.get("name", "") + " " + component.get("name", ""))
            if not re.fullmatch(component["platform"] + r"\.[a-z0-9_]+", wish):
                self.error(f"{e.unique_id}: entity id {wish}")
            taken = {o.get("entity_id") for o in self.registry.values()}
            n, r["entity_id"] = 2, wish
            while r["entity_id"] in taken:
                r["entity_id"], n = f"{wish}_{n}", n + 1
        r["name"], r["device"], r["device_id"] = component.get("name"), device.get("name"), device["identifiers"][0]
        r["via"] = device.get("via_device")
        self.save()

    def remove(self, e):
        self.registry.pop(e.unique_id, None)
        self.save()
        self.unsubscribe(e.topics())

    def subscribe(self, topic, qos):
        """An entity is found once all subscriptions are there."""
        self.asked.add(self.client.subscribe(topic, qos)[1])

    def unsubscribe(self, topics):
        for t in topics - {t for e in self.entities() for t in e.topics()}:
            self.client.unsubscribe(t)

    # What a user does.

    def states(self):
        live = {e.unique_id: e for e in self.entities()}
        out = {}
        for unique_id, r in self.registry.items():
            e = live.get(unique_id)
            state, attributes = "unavailable", {"restored": True}
            if e and e.off_at and time.monotonic() > e.off_at:
                e.state, e.off_at = "off", None
            if e and e.available():
                state, attributes = e.state, e.attributes
            elif e:
                attributes = {}
            out[r["entity_id"]] = {
                "state": state, "attributes": attributes, "unique_id": unique_id, "name": r["name"],
                "device": r["device"], "device_id": r["device_id"], "via": r["via"], "found": e is not None and not self.asked,
            }
        return {"is": "states", "states": out, "errors": self.errors, "births": self.births, "updates": self.updates}

    def config(self, entity):
        for e in self.entities():
            if e.unique_id and e.entity_id() == entity:
                return e.config
        raise KeyError(entity)

    def publish(self, c, payload):
        """Publishes a command. It expires only in MQTT 5."""
        properties = None
        if "message_expiry_interval" in c and self.options["version"] == 5:
            properties = Properties(PacketTypes.PUBLISH)
            properties.MessageExpiryInterval = c["message_expiry_interval"]
        self.client.publish(c["command_topic"], payload, c.get("qos", 0), c.get("retain", False), properties)

    def do(self, command):
        with self.lock:
            if command["do"] in ("states", "news"):
                if command["do"] == "news":
                    self.heard.wait_for(lambda: self.news, 0.2)
                self.news = False
                self.say(self.states())
            elif command["do"] == "press":
                c = self.config(command["entity"])
                self.publish(c, c["payload_press"])
            elif command["do"] == "call":
                e = next(e for e in self.entities() if e.unique_id and e.entity_id() == command["entity"])
                for topic, payload in platforms.call(e, command["service"], json.loads(command["data"])):
                    self.publish({**e.config, "command_topic": topic}, payload)
            elif command["do"] == "notify":
                self.publish(self.config(command["entity"]), command["message"])
            elif command["do"] == "publish":
                self.publish({"command_topic": command["topic"], "qos": 1}, command["message"])


HOUSE = House(json.loads(sys.argv[1]))


def main():
    HOUSE.client.connect(HOUSE.options["host"], HOUSE.options["port"], keepalive=60)
    HOUSE.client.loop_start()
    for line in sys.stdin:
        command = json.loads(line)
        if command["do"] == "stop":
            break
        HOUSE.do(command)
    if HOUSE.connected:
        HOUSE.client.publish(HOUSE.options["birth"], "offline").wait_for_publish(5)
    HOUSE.client.disconnect()
    HOUSE.client.loop_stop()


main()
