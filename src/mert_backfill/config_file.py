"""Reads a config file; what is wrong with its YAML is told with line and cure."""

from __future__ import annotations

import difflib
import json
import math
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from mert_backfill.errors import UserError

# a real configuration has a hundred values; a few YAML aliases can stand for billions
MAX_VALUES = 100_000
_MAX_BYTES = 1_000_000
_NO_SPACE = re.compile(r"\s*(?:- )?\w+:[^\s/\\]")
_DRIVE = re.compile(r'"[A-Za-z]:\\(?!\\)')
_SINGLE_QUOTES = r"write it in single quotes, as in 'C:\Users\me\Music'"


class _Meaning(NamedTuple):
    """What a complaint of PyYAML means; `opened`: the fault lies where what it reads begins."""

    complaint: str
    meaning: str
    opened: bool = False


_MEANINGS = (
    _Meaning(
        r"double-quoted.*(?:unknown escape|escape sequence)",
        f"a backslash in double quotes means something else; {_SINGLE_QUOTES}",
    ),
    _Meaning(
        r"quoted scalar.*unexpected end", "the quote that begins here is not closed", opened=True
    ),
    _Meaning(
        r"flow mapping.*expected ',' or '}'",
        "in the {...} that begins here a comma or the closing } is missing",
        opened=True,
    ),
    _Meaning(
        r"flow sequence.*expected ',' or ']'",
        "in the [...] that begins here a comma or the closing ] is missing",
        opened=True,
    ),
    _Meaning(r"flow node", "a value or a closing bracket is missing before this"),
    _Meaning(
        r"expected <block end>, but found '<scalar>'",
        "something follows a closing quote; write a value that holds quotes in quotes of the "
        "other kind",
    ),
    _Meaning(
        r"expected <block end>|could not find expected ':'",
        "the indentation fits nothing above, or a `key: value` is incomplete; what belongs "
        "together begins in one column",
    ),
    _Meaning(
        r"mapping values are not allowed",
        "a colon too many, or wrong indentation; write a value that holds a colon in single quotes",
    ),
    _Meaning(
        r"undefined alias|scanning an (?:alias|anchor)|cannot start any token|could not determine",
        "a value that begins with {first} must be in single quotes",
    ),
)


def read_config_file(path: Path | str) -> dict[str, Any]:
    """Return what a config file holds.

    Raises
    ------
    UserError
        It is not there, no YAML, or far too large, as it is or with its aliases written out; it
        gives a key twice, or a Windows path that YAML takes for something else. The line names
        the place in the file and the cure.
    """
    text = _read_text(path)
    with suppress(ValueError, RecursionError):
        return _checked_top(path, json.loads(text))
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        if root is not None and _written_out(root, {}) > MAX_VALUES:
            raise too_many_values(path)
        for line, mistake in [*_repeated_keys(root), *_lost_backslashes(text)]:
            raise UserError(f"config: {path}, line {line}: {mistake}")
        return _checked_top(path, yaml.safe_load(text))
    except RecursionError:
        raise too_many_values(path) from None
    except yaml.MarkedYAMLError as error:
        line, mistake = _explain(error, [*text.splitlines(), ""])
        raise UserError(f"config: {path}, line {line}: {mistake}") from None
    except (yaml.YAMLError, ValueError) as error:
        raise UserError(f"config: {path}: no YAML: {' '.join(str(error).split())}") from None


def check_config_files(paths: Iterable[Path | str]) -> None:
    """Refuse config files that have mistakes, see `read_config_file`.

    What is no regular file, such as a pipe, can be read only once and is left to others.
    """
    for path in paths:
        if os.path.isfile(path):
            read_config_file(path)


def too_many_values(path: Path | str) -> UserError:
    """Return the error of a configuration that would take hours to write out."""
    return UserError(
        f"config: {path}: holds far more values than a configuration has (YAML aliases multiply "
        "them); write it out without aliases"
    )


def _read_text(path: Path | str) -> str:
    try:
        if os.path.getsize(path) > _MAX_BYTES:
            raise too_many_values(path)
        return Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        beside = _files_beside(path)
        near = difflib.get_close_matches(Path(path).stem, beside, n=1)
        cure = f"did you mean {beside[near[0]]}?" if near else "correct the path"
        raise UserError(f"config: there is no file {path}; {cure}") from None
    except UnicodeDecodeError:
        raise UserError(f"config: {path}: not in UTF-8; save it in that encoding") from None
    except OSError as error:
        raise UserError(f"config: {path}: cannot be read ({error.strerror or error})") from None


def _files_beside(path: Path | str) -> dict[str, str]:
    """Return the names of the files beside one by what they are without their ending."""
    with suppress(OSError):
        return {Path(name).stem: name for name in sorted(os.listdir(Path(path).parent))}
    return {}


def _checked_top(path: Path | str, values: Any) -> dict[str, Any]:
    if not isinstance(values, dict):
        held = "nothing" if values is None else "no `key: value`"
        raise UserError(f"config: {path}: holds {held}; see config/README.md for what it may hold")
    return values


def _written_out(node: yaml.Node, known: dict[int, float]) -> float:
    """Return how many values a YAML node stands for, without making them."""
    if id(node) not in known:
        known[id(node)] = math.inf  # for a node that holds itself
        parts: list[Any] = node.value if isinstance(node, yaml.CollectionNode) else []
        if isinstance(node, yaml.MappingNode):
            parts = [part for pair in parts for part in pair]
        known[id(node)] = 1 + sum(_written_out(part, known) for part in parts)
    return known[id(node)]


def _repeated_keys(node: yaml.Node | None) -> Iterator[tuple[int, str]]:
    """Yield the keys of sections that stand twice: YAML would forget the first one's values."""
    parts: list[Any] = node.value if isinstance(node, yaml.CollectionNode) else []
    if isinstance(node, yaml.MappingNode):
        first: dict[str, int] = {}
        for key, _ in parts:
            line = key.start_mark.line + 1
            if first.setdefault(str(key.value), line) != line and key.value != "<<":
                yield (
                    line,
                    f"{key.value} stands here a second time, after line {first[key.value]}; put "
                    "both together",
                )
        parts = [value for _, value in parts]
    for part in parts:
        yield from _repeated_keys(part)


def _lost_backslashes(text: str) -> Iterator[tuple[int, str]]:
    for token in yaml.scan(text, Loader=yaml.SafeLoader):
        if isinstance(token, yaml.ScalarToken) and token.style == '"':
            written = text[token.start_mark.index : token.end_mark.index]
            if _DRIVE.match(written):
                yield (
                    token.start_mark.line + 1,
                    f"in {written} a backslash means something else; {_SINGLE_QUOTES}",
                )


def _explain(error: yaml.MarkedYAMLError, lines: list[str]) -> tuple[int, str]:
    """Return the line at fault, counted from 1, and what is wrong with it.

    A last empty line of `lines` stands for the end of the file.
    """
    mark = error.problem_mark or error.context_mark
    assert mark is not None  # each error of a text has a place
    opened = error.context_mark or mark
    text = lines[mark.line]
    if "\t" in text[: len(text) - len(text.lstrip())]:
        return mark.line + 1, "a tab; indent with spaces only"
    said = f"{error.context or ''} {error.problem or ''}"
    if "mapping values" in said and mark.line and _NO_SPACE.match(lines[mark.line - 1]):
        return mark.line, "a space is missing after the colon"
    for one in _MEANINGS:
        if re.search(one.complaint, said):
            place = opened if one.opened else mark
            first = lines[opened.line][opened.column :][:1]
            return place.line + 1, one.meaning.replace("{first}", first)
    return mark.line + 1, f"{said.strip()}; see config/README.md"
