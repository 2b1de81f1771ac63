"""Home Assistant's templates: Jinja2 in its sandbox, with what Home Assistant adds or changes.

It knows no more of Home Assistant's functions than the project's templates use.
"""

import datetime
import json
import math

import jinja2
import jinja2.filters
import jinja2.sandbox

MISSING = object()


def fails(name, value, default):
    """Home Assistant's functions fail without a default."""
    if default is MISSING:
        raise jinja2.TemplateError(f"{name} got invalid input {value!r}")
    return default


def to_float(value, default=MISSING):
    try:
        return float(value)
    except (ValueError, TypeError, OverflowError):
        return fails("float", value, default)


def to_int(value, default=MISSING, base=10):
    try:
        result = jinja2.filters.do_int(value, default=MISSING, base=base)
    except OverflowError:
        result = MISSING
    return fails("int", value, default) if result is MISSING else result


def to_bool(value, default=MISSING):
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower().strip() in ("1", "true", "yes", "on", "enable"):
        return True
    if isinstance(value, str) and value.lower().strip() in ("0", "false", "no", "off", "disable"):
        return False
    if isinstance(value, (int, float)):
        return value != 0
    return fails("bool", value, default)


def is_number(value):
    try:
        return math.isfinite(float(value))
    except (ValueError, TypeError, OverflowError):
        return False


def to_round(value, precision=0, method="common", default=MISSING):
    try:
        by = float(10**precision)
        if method == "ceil":
            value = math.ceil(float(value) * by) / by
        elif method == "floor":
            value = math.floor(float(value) * by) / by
        elif method == "half":
            value = round(float(value) * 2) / 2
        else:
            value = round(float(value), precision)
        return int(value) if precision == 0 else value
    except (ValueError, TypeError, OverflowError):
        return fails("round", value, default)


def add(value, amount, default=MISSING):
    try:
        return float(value) + amount
    except (ValueError, TypeError, OverflowError):
        return fails("add", value, default)


def multiply(value, amount, default=MISSING):
    try:
        return float(value) * amount
    except (ValueError, TypeError, OverflowError):
        return fails("multiply", value, default)


def iif(value, if_true=True, if_false=False, if_none=MISSING):
    if value is None and if_none is not MISSING:
        return if_none
    return if_true if value else if_false


def as_datetime(value, default=MISSING):
    try:
        return datetime.datetime.fromtimestamp(float(value), datetime.timezone.utc)
    except (ValueError, TypeError):
        try:
            return datetime.datetime.fromisoformat(value)
        except (ValueError, TypeError):
            return fails("as_datetime", value, default)


def smallest_of(values, pick):
    """min and max are functions too: of a list, or of their arguments."""
    if len(values) == 1 and isinstance(values[0], (str, int, float)):
        raise TypeError(f"{values[0]!r} is no list")
    return pick(values[0] if len(values) == 1 else values)


def environment():
    env = jinja2.sandbox.ImmutableSandboxedEnvironment()
    both = {"float": to_float, "int": to_int, "bool": to_bool, "is_number": is_number, "iif": iif, "as_datetime": as_datetime}
    env.globals.update(both)
    env.globals.update(min=lambda *v: smallest_of(v, min), max=lambda *v: smallest_of(v, max))
    env.filters.update(both)
    env.filters.update(
        round=to_round, add=add, multiply=multiply, to_json=json.dumps,
        bitwise_and=lambda a, b: a & b, bitwise_or=lambda a, b: a | b,
    )
    env.tests["is_number"] = is_number
    return env
