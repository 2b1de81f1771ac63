"""What Home Assistant reads of a payload: by its parser of JSON, and by a template."""

import functools
import json

import jinja2

import templates

DEFAULT = object()  # PayloadSentinel.DEFAULT
TEMPLATES = templates.environment()
ERRORS = []  # what Home Assistant would write to its log


@functools.cache
def compiled(template):
    return TEMPLATES.from_string(template)


def loads(text):
    """Home Assistant's parser knows neither NaN nor half surrogates."""
    def refuse(word):
        raise ValueError(word)
    value = json.loads(text, parse_constant=refuse)
    json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    return value


def render(template, payload, variables=None):
    """The value of a payload, or the payload of a command if there are variables."""
    if template is None:
        return payload
    if variables is None:
        variables = {}
        try:
            variables["value_json"] = loads(payload)
        except ValueError:
            pass
    variables["value"] = payload
    try:
        return compiled(template).render(variables).strip()
    except (jinja2.TemplateError, TypeError, ValueError) as problem:
        ERRORS.append(f"template {template!r} with {payload[:80]!r}: {problem}")
        return DEFAULT
