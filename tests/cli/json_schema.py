"""The schema of what --json prints: a check, and the page docs/guides/command_line_json.md.

python tests/cli/json_schema.py
"""

import json
import sys
from functools import cache
from pathlib import Path

import keras_focal

SCHEMA = json.loads((Path(keras_focal.__file__).parent / "cli/schema.json").read_text())
PAGE = Path(__file__).resolve().parents[2] / "docs/guides/command_line_json.md"

_HEAD = """\
# What `--json` prints

Each command of [the command line](command_line.md) prints one JSON object on one line. Numbers have
8 significant digits; null stands for what is not a finite number. `schema_version` is {version}.
It is raised when a name is removed or changes its meaning, not when a name is added. This page is
generated from the JSON Schema file `keras_focal/cli/schema.json`, which the package installs:

```python
import json
from importlib.resources import files

schema = json.loads(files("keras_focal.cli").joinpath("schema.json").read_text())
report = {"$ref": "#/$defs/report", "$defs": schema["$defs"]}
```
"""


def check(command, found):
    """Raise unless what a command printed is as the schema says."""
    validator(command).validate(found)


@cache
def validator(command):
    """Return what validates the output of a command."""
    import jsonschema

    schema = {"$ref": f"#/$defs/{command}", "$defs": SCHEMA["$defs"]}
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def page():
    """Return the page."""
    version = SCHEMA["$defs"]["report"]["properties"]["schema_version"]["const"]
    parts = [_HEAD.replace("{version}", str(version))]
    for name, part in SCHEMA["$defs"].items():
        title = "Figures" if name == "figures" else f"`{part['description']}`"
        parts += [f"\n## {title}\n"]
        if name == "figures":
            parts += [f"\n{part['description']}\n"]
        parts += ["\n| name | type | what it is |\n| --- | --- | --- |\n"]
        parts += [f"| {' | '.join(row)} |\n" for row in _rows(part["properties"])]
    return "".join(parts)


def _rows(properties, before=""):
    for name, part in properties.items():
        items = part.get("items", part.get("additionalProperties") or part)
        yield f"`{before}{name}`", _kind(part), part["description"]
        if "properties" in items:
            end = "." if items is part else "[]." if "items" in part else ".*."
            yield from _rows(items["properties"], f"{before}{name}{end}")


def _kind(part):
    if "const" in part:
        return str(part["const"])
    if "$ref" in part:
        return "[figures](#figures)"
    if "anyOf" in part:
        return " or ".join(_kind(each) for each in part["anyOf"])
    kinds = part["type"] if isinstance(part["type"], list) else [part["type"]]
    return " or ".join(kinds)


if __name__ == "__main__":
    PAGE.write_text(page())
    sys.stdout.write(f"written: {PAGE}\n")
