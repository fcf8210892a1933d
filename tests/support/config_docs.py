"""The schema and the tables of config/README.md, made of the settings themselves.

``make config-docs`` writes both; a test fails when they say anything else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from mert_backfill.config import short_names
from mert_backfill.settings import Settings
from support import REPO

SCHEMA = REPO / "workflow" / "schemas" / "config.schema.yaml"
MANUAL = REPO / "config" / "README.md"
_HEADER = """\
# Made of src/mert_backfill/settings.py by `make config-docs`: change that, not this.
$schema: "https://json-schema.org/draft/2020-12/schema"
title: Configuration of MERT Backfill
"""
_FIRST = ("description", "type")
_TABLE = re.compile(
    r"(<!-- made by `make config-docs`: (\w+(?: \w+)*) -->\n).*?(<!-- end -->\n)", re.S
)


def make_schema() -> dict[str, Any]:
    """Return the JSON schema, each section written out where it stands."""
    schema = Settings.model_json_schema()
    parts = schema.pop("$defs")
    return _plain(schema, parts)


def keys(schema: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield every key that can be set, dotted, and its part of the schema."""
    for name, part in schema["properties"].items():
        if part.get("type") == "object":
            yield from keys(part, f"{prefix}{name}.")
        else:
            yield prefix + name, part


def schema_file() -> str:
    """Return the text of the schema file."""
    text = yaml.safe_dump(make_schema(), sort_keys=False, width=100, allow_unicode=True)
    return _HEADER + text


def manual(text: str) -> str:
    """Return the text of the manual with its tables made anew."""
    return _TABLE.sub(lambda found: found[1] + _table(found[2]) + found[3], text)


def _plain(part: Any, parts: Mapping[str, Any], *, named: bool = False) -> Any:
    """Write references out and leave out titles; in a `named` mapping the keys are our own."""
    if isinstance(part, list):
        return [_plain(item, parts) for item in part]
    if not isinstance(part, dict):
        return part
    if "$ref" in part:
        return _plain(parts[part["$ref"].rsplit("/", 1)[1]], parts)
    names = part if named else [*(name for name in _FIRST if name in part), *part]
    return {
        name: _plain(part[name], parts, named=name == "properties")
        for name in names
        if named or name != "title"
    }


def _table(which: str) -> str:
    if which == "short names":
        rows = [f"| `{example}` | `{'.'.join(path)}` |" for example, path in short_names()]
        return "\n".join(["| `--config ...` | sets |", "| --- | --- |", *rows, ""])
    rows = [
        f"| `{key}` | `{_written(part['default'])}` | {part['description']} |"
        for key, part in keys(make_schema())
        if key.rpartition(".")[0] == ("" if which == "switches" else which)
    ]
    return "\n".join(["| key | default | meaning |", "| --- | --- | --- |", *rows, ""])


def _written(value: Any) -> str:
    """Return a value as it is written in a YAML file."""
    text = yaml.safe_dump(value, default_flow_style=True, width=1000, allow_unicode=True)
    return text.removesuffix("\n...\n").rstrip()


if __name__ == "__main__":
    SCHEMA.write_text(schema_file(), encoding="utf-8")
    MANUAL.write_text(manual(MANUAL.read_text(encoding="utf-8")), encoding="utf-8")
