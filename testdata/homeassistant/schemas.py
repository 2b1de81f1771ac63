"""Home Assistant's own schemas of MQTT discovery. It runs with the Python of Home Assistant.

usage: schemas.py table >schemas.json   writes them as a table: for each key, whether it must be
                                        there, and what its value is
       schemas.py check <PAYLOADS       holds discovery payloads, one a line, against them, and
                                        prints a line for each fault
       schemas.py units <classes.json   holds the table of device classes against them: each
                                        sensor class with each unit and each state class
"""

import asyncio
import importlib
import json
import sys
import tempfile

import probatio
from homeassistant import const, core
from homeassistant.components.mqtt import schemas
from homeassistant.components.mqtt.light import schema_template

PLATFORMS = (
    "binary_sensor", "button", "cover", "event", "fan", "light", "lock", "notify", "number", "select", "sensor", "switch", "text",
    "update", "valve",
)
# What Home Assistant's functions take, in words.
FUNCTIONS = {
    "valid_subscribe_topic": "topic", "valid_publish_topic": "topic", "template": "template", "string": "text", "str": "text",
    "boolean": "boolean", "bool": "boolean", "icon": "icon", "url": "url", "configuration_url": "url", "valid_qos_schema": "qos",
    "valid_message_expiry_interval": "seconds", "positive_int": "whole", "int": "whole", "float": "number", "valid_regex": "text",
    "is_regex": "text",
}
CATEGORIES = (None, "config", "diagnostic")


def schema(platform):
    if platform == "device_automation":
        return importlib.import_module("homeassistant.components.mqtt.device_trigger").TRIGGER_DISCOVERY_SCHEMA
    return importlib.import_module("homeassistant.components.mqtt." + platform).DISCOVERY_SCHEMA


def accepts(validator, value):
    try:
        validator(value)
    except (probatio.Invalid, ValueError):
        return False
    return True


def kinds(v):
    """What a validator takes: kinds of values, and lists of choices."""
    name = getattr(v, "__name__", "")
    kind = type(v).__name__
    if v is None or v is type(None):
        return ["null"]
    if "entity_category" in name:
        return [[c for c in CATEGORIES if c and accepts(v, c)]]
    if kind == "In":
        return [[str(c) for c in v.container]]
    if kind == "Coerce" and hasattr(v.type, "__members__"):
        return [[str(m) for m in v.type]]
    if kind == "Coerce":
        name = v.type.__name__
    if kind == "EnsureList":
        return ["list"]
    if kind in ("list", "dict", "Schema"):
        return ["list" if kind == "list" else "object"]
    if kind == "All":
        found = [k for inner in v.validators for k in kinds(inner)]
        first = [k for k in found if isinstance(k, list)] or [k for k in found if k in ("list", "object")] or found
        return first[:1]
    if kind == "Any":
        return [k for inner in v.validators for k in kinds(inner)]
    if name in FUNCTIONS:
        return [FUNCTIONS[name]]
    return []


def keys(v, found):
    """Collects the keys of a schema."""
    if hasattr(v, "validators"):
        for inner in v.validators:
            keys(inner, found)
    elif type(v).__name__ == "Schema" and isinstance(v.schema, dict):
        for key, validator in v.schema.items():
            row = {}
            if isinstance(key, probatio.Required):
                row["required"] = True
            for kind in kinds(validator):
                row["of" if isinstance(kind, list) else "is"] = kind if isinstance(kind, list) else row.get("is", []) + [kind]
            found[str(getattr(key, "schema", key))] = row
    return found


def written(v, depth=0):
    """JSON with a line for each row."""
    if not isinstance(v, dict) or depth and not any(isinstance(inner, dict) for inner in v.values()):
        return json.dumps(v, ensure_ascii=False, sort_keys=True)
    rows = [f"{' ' * (depth + 1)}{json.dumps(key)}: {written(v[key], depth + 1)}" for key in sorted(v)]
    return "{\n" + ",\n".join(rows) + "\n" + " " * depth + "}"


def table():
    platforms = {p: keys(schema(p), {}) for p in (*PLATFORMS, "device_automation")}
    platforms["light"] = keys(schema_template.DISCOVERY_SCHEMA_TEMPLATE, {})  # the one of three that is used
    whole = {
        "version": const.__version__, "platforms": platforms,
        "root": keys(schemas.DEVICE_DISCOVERY_SCHEMA, {}), "device": keys(schemas.MQTT_DEVICE_INFO_SCHEMA, {}),
        "origin": keys(schemas.MQTT_ORIGIN_INFO_SCHEMA, {}),
    }
    for platform in platforms.values():
        for inner in ("device", "origin"):  # they come from the root
            platform.pop(inner, None)
    print(written(whole))


def check():
    for line in sys.stdin:
        payload = json.loads(line)
        try:
            schemas.validate_device_discovery_components(schemas.DEVICE_DISCOVERY_SCHEMA(json.loads(line)))
        except probatio.Invalid as problem:
            print("the whole payload:", problem)
            continue
        for key, c in payload["components"].items():
            platform = c.pop("platform")
            if not c:
                continue  # a removal
            shared = {k: payload[k] for k in (*schemas.SHARED_OPTIONS, "device", "origin") if k in payload}
            config = {**shared, **c}
            try:
                taken = schema(platform)(config)
            except probatio.Invalid as problem:
                print(f"{key}: {problem}")
                continue
            for dropped in set(c) - set(taken):
                print(f"{key}: {dropped} is dropped")


def units():
    ours = json.load(sys.stdin)
    sensor = schema("sensor")
    everywhere = {u for c in ours["classes"]["sensor"].values() for u in c["units"] or []} | {"", "none of them"}
    for name, c in ours["classes"]["sensor"].items():
        for unit in sorted(everywhere):
            for state in ("", *ours["state_classes"]):
                config = {"state_topic": "t", "device_class": name, "unit_of_measurement": unit, "state_class": state}
                config = {k: v for k, v in config.items() if v}
                # Home Assistant takes a sensor without its unit, and says so later.
                fits = not unit or c["units"] is None or unit in c["units"]
                fits = fits and (not ours["state_classes"].get(state) or unit in ours["state_classes"][state])
                if fits != accepts(sensor, config):
                    print(f"{name} with {unit!r} and {state!r}: the table says {fits}")


async def main():
    core.HomeAssistant(tempfile.mkdtemp())  # templates need one
    {"table": table, "check": check, "units": units}[sys.argv[1]]()


asyncio.run(main())
