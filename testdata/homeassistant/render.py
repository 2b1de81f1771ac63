"""Renders templates as Home Assistant does, and says how long that took.

A line on stdin is JSON: {"template": "…", "payloads": ["…"]}. The answer is a line for each
payload: {"text": "…", "error": "", "length": 3, "seconds": 0.0001}. Seconds are of the
processor, and text is its beginning.
"""

import json
import sys
import time

import templates

ENVIRONMENT = templates.environment()


def answer(template, payload):
    began = time.process_time()
    text, error = "", ""
    variables = {"value": payload}
    try:
        variables["value_json"] = json.loads(payload)
    except ValueError:
        pass
    try:
        if isinstance(template, Exception):
            raise template
        text = template.render(variables).strip()
    except Exception as problem: # whatever it is, it would stand in the log
        error = f"{type(problem).__name__}: {problem}"
    return {"text": text[:300], "error": error[:300], "length": len(text), "seconds": time.process_time() - began}


for line in sys.stdin:
    asked = json.loads(line)
    try:
        compiled = ENVIRONMENT.from_string(asked["template"])
    except Exception as problem:
        compiled = problem
    for p in asked["payloads"]:
        print(json.dumps(answer(compiled, p)), flush=True)
