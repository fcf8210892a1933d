"""From what is written in config files and after ``--config`` to `Settings`, or to one line."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from mert_backfill.config_file import MAX_VALUES, too_many_values
from mert_backfill.errors import UserError
from mert_backfill.keys import Section, absolute
from mert_backfill.library.roots import Root
from mert_backfill.model.source import ModelSource
from mert_backfill.recipes import RECIPES
from mert_backfill.settings import Embedding, ModelEntry, Settings

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_REASONS = {
    "model_type": "is not a section of `key: value`",
    "list_type": "is not a list",
    "string_type": "is not text",
    "string_unicode": "holds bytes that are no letters",
    "int_type": "is not a whole number",
    "float_type": "is not a number",
    "bool_type": "is neither true nor false",
    "string_pattern_mismatch": "does not match {pattern}",
    "literal_error": "is not {expected}",
    "greater_than": "is not greater than {gt}",
    "greater_than_equal": "is less than {ge}",
    "less_than_equal": "is greater than {le}",
    "too_short": "is empty",
    "empty": "is empty",
    "repeats": "holds a value twice",
}


def short_names(
    part: type[Section] = Settings, path: tuple[str, ...] = ()
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield each ``NAME=VALUE`` for ``--config``, by example, and the path of the key it sets."""
    for name, field in part.model_fields.items():
        extra = field.json_schema_extra
        if isinstance(extra, dict) and "command_line" in extra:
            yield str(extra["command_line"]), (*path, name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from short_names(field.annotation, (*path, name))


# what may be written on the command line as --config NAME=VALUE
SHORT_NAMES = {example.partition("=")[0]: path for example, path in short_names()}


def load_settings(
    config: Mapping[str, Any], workdir: Path | str, *, given: Mapping[str, Any] | None = None
) -> Settings:
    """Validate a configuration and return it as typed values.

    Parameters
    ----------
    config : mapping
        The merged content of the config files and of ``--config``.
    workdir : path
        Folder that relative paths start from, and that holds ``results``.
    given : mapping, optional
        What was given for this call beside config/config.yaml. With it, music of one's own is
        refused to the demo model, unless that was chosen: named here, or spelled in another way.

    Raises
    ------
    UserError
        A key is unknown, or a value has the wrong type or is impossible; names the key.
    """
    _check_size(config)
    base = Path(os.path.abspath(workdir))
    try:
        settings = Settings.model_validate(_spread_short_names(config), context=base)
    except ValidationError as error:
        details = error.errors(include_url=False)
        raise UserError(
            _explain(min(details, key=lambda one: list(map(str, one["loc"]))))
        ) from None
    _check_roots(settings.library.roots)
    _check_sidecars(settings.embedding)
    if given is not None:
        _check_model_is_meant(settings, given)
    _check_model(settings.model, base)
    return settings


def _check_size(config: Mapping[str, Any]) -> None:
    waiting: list[Any] = [config]
    for _ in range(MAX_VALUES):
        if not waiting:
            return
        value = waiting.pop()
        if isinstance(value, Mapping):
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
    raise too_many_values("the file")


def _spread_short_names(config: Mapping[str, Any]) -> dict[str, Any]:
    values = dict(config)
    for name, (section, *key) in SHORT_NAMES.items():
        if key and name in values:
            given = values.pop(name)
            if isinstance(values.get(section) or {}, Mapping):
                values[section] = {**(values.get(section) or {}), key[0]: given}
    return values


def _explain(error: ErrorDetails) -> str:
    place = error["loc"]
    # after section and key: which of two types was tried
    either = len(place) > 2 and isinstance(place[2], str)
    key = ".".join(map(str, place[:2] if either else place))
    value, context = error["input"], error.get("ctx", {})
    if error["type"] == "unknown_key":
        return _unknown_key(key, context["unknown"], context["known"])
    if key == "embedding.duration_s":
        return (
            f"config: embedding.duration_s: {value!r} is refused, the recipes are defined on the "
            "first 120 seconds; set it to 120"
        )
    if key == "model.revision":
        return (
            f"config: model.revision: {value!r} does not pin a commit; "
            "give the 40 hex digits of one"
        )
    if error["type"] == "missing":
        reason = "is missing"
    elif either:
        reason = f"{value!r} is neither auto nor a whole number that makes sense"
    else:
        reason = f"{value!r} {_REASONS.get(error['type'], 'is impossible').format(**context)}"
    return f"config: {key or 'the file'}: {reason}; see config/README.md"


def _unknown_key(section: str, unknown: str, known: Iterable[str]) -> str:
    known = sorted({*known, *(() if section else SHORT_NAMES)})
    near = difflib.get_close_matches(unknown, known, n=1)
    cure = f"did you mean {near[0]}?" if near else f"known here: {', '.join(known)}"
    return f"config: unknown key {f'{section}.{unknown}' if section else unknown}; {cure}"


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


def _check_sidecars(embedding: Embedding) -> None:
    if "sections" in embedding.sidecars and RECIPES[embedding.profile].windows is None:
        raise UserError(
            f"config: embedding.sidecars: {embedding.profile} has one window and no sections; take "
            "sections out, or set embedding.profile to canonical or padded"
        )


def _check_model_is_meant(settings: Settings, given: Mapping[str, Any]) -> None:
    default = ModelEntry.model_fields["name"].default
    section = given.get("model")
    chosen = isinstance(section, Mapping) and "name" in section
    own = settings.own_roots
    if own and settings.model.name == default and not chosen:
        raise UserError(
            f"config: model.name: {default} is the demo model, whose vectors mean nothing, but "
            f"{own[0].name!r} ({own[0].path}) is music of your own; set model.name to your model, "
            f"see README.md (if the demo model is meant: to ./{default})"
        )


def _check_model(model: ModelSource, base: Path) -> None:
    if model.folder is not None:
        return
    absent = f"config: model.name: there is no folder {absolute(model.name, base)}"
    if _HUB_ID.fullmatch(model.name) is None:
        raise UserError(f"{absent}; correct the path")
    if model.revision is None:
        is_demo = model.name == ModelEntry.model_fields["name"].default
        cure = (
            "for the demo model run `make demo`"
            if is_demo
            else "40 hex digits; its page on the hub lists them (Files, History)"
        )
        raise UserError(
            f"{absent}, and as a hub id {model.name} needs model.revision, the commit to use "
            f"({cure})"
        )
