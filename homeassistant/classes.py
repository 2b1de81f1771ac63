"""Writes Home Assistant's device classes, with their units and state classes, as JSON.

usage: classes.py FOLDER >classes.json

FOLDER is Home Assistant's package, unpacked: the one with const.py in it. Nothing of it is
imported. Only its enumerations, and the tables that are named here, are evaluated.
"""

import ast
import enum
import json
import pathlib
import sys

HOME = pathlib.Path(sys.argv[1])
NAMES = {"StrEnum": enum.StrEnum, "Final": None, "set": set}


def evaluate(file, tables=()):
    """Evaluates the enumerations, constants and named tables of a file, into NAMES."""
    for node in ast.parse((HOME / file).read_text(encoding="utf-8")).body:
        name = ""
        if isinstance(node, ast.AnnAssign) and node.value and isinstance(node.target, ast.Name):
            name = node.target.id
            node = ast.copy_location(ast.Assign([node.target], node.value), node)
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
        is_enum = isinstance(node, ast.ClassDef) and any(isinstance(b, ast.Name) and b.id == "StrEnum" for b in node.bases)
        is_text = isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, (str, int))
        if is_enum or is_text or name in tables:
            exec(compile(ast.Module([node], []), file, "exec"), NAMES)


def classes(component, kind):
    """The names of a component's device classes."""
    evaluate(f"components/{component}/const.py")
    return sorted(str(c) for c in NAMES[kind])


def texts(values):
    """Units, the empty one for none."""
    return sorted("" if v is None else str(v) for v in values)


evaluate("const.py")
version = f"{NAMES['MAJOR_VERSION']}.{NAMES['MINOR_VERSION']}.{NAMES['PATCH_VERSION']}"
evaluate("components/sensor/const.py", ("DEVICE_CLASS_UNITS", "DEVICE_CLASS_STATE_CLASSES", "STATE_CLASS_UNITS", "AMBIGUOUS_UNITS"))
units, states = NAMES["DEVICE_CLASS_UNITS"], NAMES["DEVICE_CLASS_STATE_CLASSES"]
table = {
    "version": version,
    "state_classes": {str(s): texts(NAMES["STATE_CLASS_UNITS"].get(s, [])) for s in NAMES["SensorStateClass"]},
    "spellings": {k: str(v) for k, v in NAMES["AMBIGUOUS_UNITS"].items()},
    "classes": {},
}
table["classes"]["sensor"] = {
    str(c): {"units": texts(units[c]) if c in units else None, "states": sorted(str(s) for s in states.get(c, []))}
    for c in NAMES["SensorDeviceClass"]
}
evaluate("components/number/const.py", ("DEVICE_CLASS_UNITS",))
units = NAMES["DEVICE_CLASS_UNITS"]
table["classes"]["number"] = {str(c): {"units": texts(units[c]) if c in units else None} for c in NAMES["NumberDeviceClass"]}
for platform in ("binary_sensor", "switch", "cover", "valve", "event", "button", "update"):
    names = classes(platform, "".join(w.title() for w in platform.split("_")) + "DeviceClass")
    table["classes"][platform] = {name: {"units": None} for name in names}
json.dump(table, sys.stdout, ensure_ascii=False, sort_keys=True, indent=1)
print()
