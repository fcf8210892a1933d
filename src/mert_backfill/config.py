"""The configuration: validated against the JSON schema, then typed values."""

from __future__ import annotations

import difflib
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from mert_backfill.errors import UserError
from mert_backfill.library.paths import PathMap
from mert_backfill.library.roots import Root
from mert_backfill.model.source import ModelSource
from mert_backfill.results import Results
from mert_backfill.settings import Runtime, Settings

# what may be written on the command line as --config NAME=VALUE
SHORT_NAMES = {
    "paths_file": ("library", "paths_file"),
    "limit": ("chunking", "limit"),
    "checkpoint_every": ("checkpointing", "every"),
}
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
# a real configuration has a hundred values; a few YAML aliases can stand for billions
_MAX_VALUES = 100_000
_MAX_BYTES = 1_000_000
_WORDS = {"true": True, "false": False, "null": None, "none": None, "": None}


def load_schema(path: Path | str) -> dict[str, Any]:
    """Read the JSON schema (written as YAML)."""
    return yaml.safe_load(Path(path).read_text(encoding="utf-8"))


def check_config_file(path: Path | str) -> None:
    """Refuse a file whose aliases or nesting would hang or crash those who read it.

    Anything else that may be wrong with it is left to them.

    Raises
    ------
    UserError
        The file is far too large, as it is or with its aliases written out.
    """
    try:
        large = os.path.getsize(path) > _MAX_BYTES
        root = None if large else yaml.compose(Path(path).read_bytes(), Loader=yaml.SafeLoader)
    except RecursionError:
        large, root = True, None
    except (OSError, yaml.YAMLError):
        return
    if large or (root is not None and _written_out(root, {}) > _MAX_VALUES):
        raise _too_large(path)


def load_settings(
    config: Mapping[str, Any], schema: Mapping[str, Any], workdir: Path | str
) -> Settings:
    """Validate a configuration and return it as typed values.

    Parameters
    ----------
    config : mapping
        The merged content of the config files and of ``--config``.
    schema : mapping
        The JSON schema; it also holds the defaults of missing keys.
    workdir : path
        Folder that relative paths start from, and that holds ``results``.

    Raises
    ------
    UserError
        A key is unknown, or a value has the wrong type or is impossible; names the key.
    """
    _check_size(config)
    values = _spread_short_names(config)
    values = _coerce(values, schema)
    _validate(values, schema)
    values = _with_defaults(values, schema)
    base = Path(os.path.abspath(workdir))

    def path(value: str | None) -> Path | None:
        return None if value is None else Path(os.path.abspath(base / Path(value).expanduser()))

    library, meta, runtime = values["library"], values["meta"], values["runtime"]
    roots = tuple(Root(r["name"], _required(path(r["path"]))) for r in library["roots"])
    _check_roots(roots)
    return Settings(
        roots=roots,
        extensions=frozenset(extension.lower() for extension in library["extensions"]),
        exclude_file=path(library["exclude_file"]),
        paths_file=path(library["paths_file"]),
        baseline=path(meta["baseline"]),
        embedding_base=path(meta["embedding_base"]),
        path_map=PathMap(
            [(pair["from"], str(_required(path(pair["to"])))) for pair in meta["path_map"]]
        ),
        stale_policy=meta["stale_policy"],
        chunk_size=values["chunking"]["size"],
        limit=values["chunking"]["limit"],
        checkpoint_every=values["checkpointing"]["every"],
        model=_model_source(values["model"], base),
        profile=values["embedding"]["profile"],
        duration_s=values["embedding"]["duration_s"],
        sidecars=tuple(sorted(values["embedding"]["sidecars"])),
        runtime=Runtime(
            device=runtime["device"],
            precision=runtime["precision"],
            batch_size=None if runtime["batch_size"] == "auto" else runtime["batch_size"],
            decode_workers=(
                None if runtime["decode_workers"] == "auto" else runtime["decode_workers"]
            ),
            track_timeout_s=float(runtime["track_timeout_s"]),
        ),
        retry_failed=values["retry_failed"],
        accept_shrunken_library=values["accept_shrunken_library"],
        results=Results(base / "results"),
    )


def _written_out(node: yaml.Node, known: dict[int, float]) -> float:
    """Return how many values a YAML node stands for, without making them."""
    if id(node) not in known:
        known[id(node)] = math.inf  # for a node that holds itself
        parts: list[Any] = node.value if isinstance(node, yaml.CollectionNode) else []
        if isinstance(node, yaml.MappingNode):
            parts = [part for pair in parts for part in pair]
        known[id(node)] = 1 + sum(_written_out(part, known) for part in parts)
    return known[id(node)]


def _check_size(config: Mapping[str, Any]) -> None:
    waiting: list[Any] = [config]
    for _ in range(_MAX_VALUES):
        if not waiting:
            return
        value = waiting.pop()
        if isinstance(value, Mapping):
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
    raise _too_large("the file")


def _too_large(path: Path | str) -> UserError:
    return UserError(
        f"config: {path}: holds far more values than a configuration has (YAML aliases multiply "
        "them); write it out without aliases"
    )


def _required(path: Path | None) -> Path:
    assert path is not None
    return path


def _spread_short_names(config: Mapping[str, Any]) -> dict[str, Any]:
    values = dict(config)
    for name, (section, key) in SHORT_NAMES.items():
        if name in values:
            given = values.pop(name)
            values[section] = {**(values.get(section) or {}), key: given}
    return values


def _coerce(value: Any, schema: Mapping[str, Any]) -> Any:
    """Read words and numbers that ``--config`` hands over as text, where no text can be meant."""
    if isinstance(value, Mapping):
        properties = schema.get("properties", {})
        return {key: _coerce(item, properties.get(key, {})) for key, item in value.items()}
    if isinstance(value, list):
        return [_coerce(item, schema.get("items", {})) for item in value]
    types = _types(schema)
    if isinstance(value, str) and types:
        word = value.strip().lower()
        if word in _WORDS and (
            ("boolean" in types and isinstance(_WORDS[word], bool))
            or ("null" in types and _WORDS[word] is None)
        ):
            return _WORDS[word]
        if types & {"integer", "number"} and re.fullmatch(r"-?\d+", word):
            return int(word)
        if "number" in types and re.fullmatch(r"-?\d+\.\d*", word):
            return float(word)
    if isinstance(value, int | float) and not isinstance(value, bool) and "string" in types:
        return str(value)  # a list of paths may be called 2026
    return value


def _types(schema: Mapping[str, Any]) -> set[str]:
    types = schema.get("type", [])
    found = {types} if isinstance(types, str) else set(types)
    for option in [*schema.get("anyOf", []), *({"const": c} for c in schema.get("enum", []))]:
        if isinstance(option.get("const"), int):
            found.add("integer")
        found |= _types(option) if "type" in option else set()
    return found


def _validate(values: Mapping[str, Any], schema: Mapping[str, Any]) -> None:
    validator = jsonschema.Draft202012Validator(schema)
    errors = sorted(validator.iter_errors(values), key=lambda error: list(map(str, error.path)))
    if errors:
        raise UserError(_explain(errors[0]))


def _explain(error: jsonschema.ValidationError) -> str:
    key = ".".join(str(part) for part in error.absolute_path)
    if error.validator == "additionalProperties":
        known = sorted(error.schema.get("properties", {}))
        unknown = sorted(set(map(str, error.instance)) - set(known))[0]
        near = difflib.get_close_matches(unknown, known, n=1)
        cure = f"did you mean {near[0]}?" if near else f"known here: {', '.join(known)}"
        return f"config: unknown key {f'{key}.{unknown}' if key else unknown}; {cure}"
    if key == "embedding.duration_s":
        return (
            f"config: embedding.duration_s: {error.instance!r} is refused, the canonical profile "
            "is defined on the first 120 seconds; set it to 120"
        )
    if key == "model.revision":
        return (
            f"config: model.revision: {error.instance!r} does not pin a commit; "
            "give the 40 hex digits of one"
        )
    reason = error.message
    if error.validator == "anyOf":
        reason = f"{error.instance!r} is neither auto nor a whole number that makes sense"
    return f"config: {key or 'the file'}: {reason}; see config/README.md"


def _with_defaults(values: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    filled = dict(values)
    for key, part in schema["properties"].items():
        if part.get("type") == "object":
            filled[key] = _with_defaults(filled.get(key, {}), part)
        else:
            filled.setdefault(key, part["default"])
    return filled


def _check_roots(roots: tuple[Root, ...]) -> None:
    names = [root.name for root in roots]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"config: library.roots: two roots are named {name!r}; rename one")
    for one in roots:
        for other in roots:
            if one is not other and other.path.resolve().is_relative_to(one.path.resolve()):
                raise UserError(
                    f"config: library.roots: {other.name!r} ({other.path}) lies inside "
                    f"{one.name!r} ({one.path}); its tracks would be embedded twice, remove one"
                )


def _model_source(model: Mapping[str, Any], base: Path) -> ModelSource:
    name, revision = model["name"], model["revision"]
    folder = Path(os.path.abspath(base / Path(name).expanduser()))
    if folder.is_dir():
        return ModelSource(name, folder, revision)
    if _HUB_ID.fullmatch(name) is None:
        raise UserError(f"config: model.name: there is no folder {folder}; correct the path")
    if revision is None:
        raise UserError(
            f"config: model.name: there is no folder {folder}, and as a hub id {name} needs "
            "model.revision, the commit to use (for the demo model: run `make demo`)"
        )
    return ModelSource(name, None, revision)
