"""The text of a meta.json, changed in places: all else stays as it was written, byte for byte.

A number such as ``1e400``, ``-0`` or one with more decimals than a float holds would not survive
being read and written again. So values that stay are never written anew: their text is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain, pairwise
from typing import Any, NamedTuple, NoReturn

from mert_backfill.system.tables import format_json

EMPTY_META = '{\n  "tracks": {}\n}\n'
MAX_DEPTH = 100  # lists and objects in each other; without a limit they could exhaust the stack
_SPACE = re.compile(r"[ \t\n\r]*")
_STRING_OR_SPACE = re.compile(r'("(?:[^"\\]|\\.)*")|[ \t\n\r]+')


class RepeatedKey(ValueError):
    """An object has a key twice; it is told.

    JSON says that the last one wins: rebuilding would lose the others without a word.
    """


class NoRow(ValueError):
    """A row is no object; the key is told."""


class TooDeep(ValueError):
    """Over `MAX_DEPTH` lists and objects lie in each other."""


class RawJson(NamedTuple):
    """A value as it is written."""

    text: str


@dataclass(frozen=True)
class MetaEdit:
    """What is to change in a meta.json. Values are written as JSON, a `RawJson` as it is.

    Attributes
    ----------
    fields : mapping
        Key of a row to the fields that it gets, new ones at its end.
    dropped : mapping
        Key of a row to the names of the fields that it loses.
    added : mapping
        Rows by their keys, new ones to stand after all others; one that is there is replaced.
    removed : collection of str
        Keys of the rows that go.
    renamed : mapping
        Key of a row to the key that it gets in its place; all else here names it by the old one.
    """

    fields: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    dropped: Mapping[str, Collection[str]] = field(default_factory=dict)
    added: Mapping[str, Mapping[str, Any] | RawJson] = field(default_factory=dict)
    removed: Collection[str] = ()
    renamed: Mapping[str, str] = field(default_factory=dict)


class MetaText:
    """A meta.json as text, and where its rows lie in it.

    Parameters
    ----------
    text : str
        The whole file.

    Attributes
    ----------
    document : dict
        What the text says; its ``tracks`` is a mapping.

    Raises
    ------
    ValueError
        It is not JSON (`json.JSONDecodeError`), has a `RepeatedKey` or `NoRow`, is `TooDeep`.
    TypeError
        It is no object with ``tracks`` that are one.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        rows: list[_Object] = []

        def read_entry(text: str, name: str, start: int) -> tuple[Any, int]:
            if name != "tracks" or text[start : start + 1] != "{":
                return _read_value(text, name, start)
            found, values = _scan(text, start, _read_row)
            rows.append(found)
            return values, found.end

        start = _skip(text, 0)
        if text[start : start + 1] != "{":
            _refuse(text)
        self._top, self.document = _scan(text, start, read_entry)
        end = _skip(text, self._top.end)
        if end < len(text):
            raise json.JSONDecodeError("Extra data", text, end)
        if not rows:
            raise TypeError("no tracks")
        (self._tracks,) = rows

    def row(self, key: str) -> str:
        """Return the text of a row."""
        place = self._tracks.members[key]
        return self.text[place.start : place.end]

    def fields(self, key: str) -> dict[str, str]:
        """Return the texts of a row's values by their names, in their order."""
        return self._texts(self._row(key))

    def entries(self) -> dict[str, str]:
        """Return the texts of what stands beside the tracks."""
        texts = self._texts(self._top)
        return {name: text for name, text in texts.items() if name != "tracks"}

    def edited(self, edit: MetaEdit) -> str:
        """Return the text with rows changed, added or removed, in the layout that it has."""
        layout = self._layout_of(self._tracks) or _deeper(_layout(self.text, self._top), 1)
        row_layout = self._row_layout(layout)
        # where the file escapes all letters beyond ASCII, what is new does too
        ascii_only = self.text.isascii() and "\\u" in self.text

        def rows() -> Iterator[tuple[str, str]]:
            for key, row in edit.added.items():
                if isinstance(row, RawJson):
                    yield key, row.text
                else:
                    yield key, row_layout.write_object(row, ascii_only=ascii_only)

        changes = _changes(self._tracks, dict(rows()), edit.removed, layout)
        for key in {**edit.fields, **edit.dropped}:
            row = self._row(key)
            own = self._layout_of(row) or row_layout
            fields = edit.fields.get(key, {}).items()
            texts = {name: own.write(value, ascii_only=ascii_only) for name, value in fields}
            changes += _changes(row, texts, edit.dropped.get(key, ()), own)
        for key, new in edit.renamed.items():
            start = self._tracks.members[key].name
            end = _DECODER.raw_decode(self.text, start)[1]
            changes.append((start, end, json.dumps(new) if ascii_only else format_json(new)))
        return "".join(_apply(self.text, sorted(changes)))

    def _row(self, key: str) -> _Object:
        return _scan(self.text, self._tracks.members[key].start, _read_value)[0]

    def _row_layout(self, rows: _Layout) -> _Layout:
        """Return the layout of the first row that has one, or one that goes with that of `rows`."""
        for key in self._tracks.members:
            if (found := self._layout_of(self._row(key))) is not None:
                return found
        return _deeper(rows, 2)

    def _layout_of(self, found: _Object) -> _Layout | None:
        return _layout(self.text, found) if found.members else None

    def _texts(self, found: _Object) -> dict[str, str]:
        members = found.members.items()
        return {name: self.text[place.start : place.end] for name, place in members}


def members_of(text: str) -> dict[str, str] | None:
    """Return the texts of an object's values by their names; None when it is no object."""
    if not text.startswith("{"):
        return None
    members = _scan(text, 0, _read_value)[0].members
    return {name: text[place.start : place.end] for name, place in members.items()}


def with_members(text: str, members: Mapping[str, str]) -> str:
    """Return the text of an object in which some members have the values that are given."""
    found = _scan(text, 0, _read_value)[0]
    layout = _layout(text, found) if found.members else _Layout("", ", ", ": ", "")
    return "".join(_apply(text, sorted(_changes(found, members, (), layout))))


def without_spaces(text: str) -> str:
    """Return a JSON text on one line; its numbers and strings stay as they are written."""
    return _STRING_OR_SPACE.sub(lambda found: found[1] or "", text)


def says_the_same(one: str, other: str) -> bool:
    """Tell whether two JSON texts are one value, whose numbers have the same digits."""
    return one == other or _exactly(one) == _exactly(other)


def _exactly(text: str) -> Any:
    return json.loads(text, parse_float=_number, parse_int=_number, parse_constant=_number)


def _number(text: str) -> tuple[str, str]:
    return "number", text  # a tuple, which no other value becomes


class _Place(NamedTuple):
    """Where a member lies: from the quote of its name, and its value from `start` to `end`."""

    name: int
    start: int
    end: int


class _Object(NamedTuple):
    """Where an object lies, braces included, and its members."""

    start: int
    end: int
    members: dict[str, _Place]


_Read = Callable[[str, str, int], tuple[Any, int]]


def _scan(text: str, start: int, read: _Read) -> tuple[_Object, dict[str, Any]]:
    """Return the object that begins at `start`, and the values that `read` returns for it."""
    places: dict[str, _Place] = {}
    values: dict[str, Any] = {}
    at = _skip(text, start + 1)
    while text[at : at + 1] != "}" or places:
        if text[at : at + 1] != '"':
            message = "Expecting property name enclosed in double quotes"
            raise json.JSONDecodeError(message, text, at)
        name, colon = _DECODER.raw_decode(text, at)
        colon = _skip(text, colon)
        if text[colon : colon + 1] != ":":
            raise json.JSONDecodeError("Expecting ':' delimiter", text, colon)
        if name in places:
            raise RepeatedKey(name)
        value = _skip(text, colon + 1)
        values[name], end = read(text, name, value)
        places[name] = _Place(at, value, end)
        at = _skip(text, end)
        if text[at : at + 1] == "}":
            break
        if text[at : at + 1] != ",":
            raise json.JSONDecodeError("Expecting ',' delimiter", text, at)
        at = _skip(text, at + 1)
    return _Object(start, at + 1, places), values


def _read_value(text: str, name: str, start: int) -> tuple[Any, int]:
    try:
        value, end = _DECODER.raw_decode(text, start)
    except RecursionError as error:
        raise TooDeep from error
    brackets = text.count("[", start, end) + text.count("{", start, end)
    if brackets > MAX_DEPTH and _depth(value) > MAX_DEPTH:
        raise TooDeep
    return value, end


def _read_row(text: str, name: str, start: int) -> tuple[Any, int]:
    row, end = _read_value(text, name, start)
    if not isinstance(row, dict):
        raise NoRow(name)
    return row, end


def _refuse(text: str) -> NoReturn:
    """Say what is wrong with a text that is no object."""
    try:
        json.loads(text)
    except RecursionError as error:
        raise TooDeep from error
    raise TypeError("no object")


def _depth(value: Any) -> int:
    depth, level = 0, [value]
    while level := [part for part in level if isinstance(part, dict | list)]:
        depth += 1
        level = list(chain.from_iterable(map(_parts, level)))
    return depth


def _parts(whole: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return whole.values() if isinstance(whole, dict) else whole


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise RepeatedKey(key)
            seen.add(key)
    return members


def _skip(text: str, start: int) -> int:
    found = _SPACE.match(text, start)
    return found.end() if found else start


_DECODER = json.JSONDecoder(object_pairs_hook=_unique)


@dataclass(frozen=True)
class _Layout:
    """How an object is written: what stands before, between and after its members."""

    first: str
    between: str
    colon: str
    close: str

    def write(self, value: Any, *, ascii_only: bool) -> str:
        """Return the text of a value of such an object."""
        if isinstance(value, RawJson):
            return value.text
        _, line, margin = self.first.rpartition("\n")
        indent = 2 if line and isinstance(value, dict | list) and value else None
        text = json.dumps(value, indent=indent) if ascii_only else format_json(value, indent)
        return text.replace("\n", "\n" + margin)

    def write_object(self, values: Mapping[str, Any], *, ascii_only: bool) -> str:
        """Return the text of an object of this layout."""
        texts = {name: self.write(value, ascii_only=ascii_only) for name, value in values.items()}
        return f"{{{self.first}{self.join(texts)}{self.close}}}" if texts else "{}"

    def join(self, texts: Mapping[str, str]) -> str:
        """Return members, as they stand between the braces."""
        names = ((format_json(name), text) for name, text in texts.items())
        return self.between.join(f"{name}{self.colon}{text}" for name, text in names)


def _layout(text: str, found: _Object) -> _Layout:
    """Return how an object that has members is written."""
    places = list(found.members.values())
    first = text[found.start + 1 : places[0].name]
    colon = text[_DECODER.raw_decode(text, places[0].name)[1] : places[0].start]
    close = text[places[-1].end : found.end - 1]
    if len(places) > 1:
        between = text[places[0].end : places[1].name]
    else:
        between = "," + (first or colon.removeprefix(":"))
    return _Layout(first, between, colon, close)


def _deeper(outside: _Layout, depth: int) -> _Layout:
    """Return a layout for what lies in an object whose members are `depth` deep in the file."""
    if "\n" not in outside.first:
        return _Layout("", ", ", outside.colon, "")
    margin = outside.first.rpartition("\n")[2]
    first = outside.first + margin[: len(margin) // depth]
    return _Layout(first, f",{first}", outside.colon, outside.first)


_Change = tuple[int, int, str]  # from where to where, and what stands there instead


def _changes(
    found: _Object, texts: Mapping[str, str], removed: Collection[str], layout: _Layout
) -> list[_Change]:
    """Return what is to change so that an object gets members, and loses others."""
    gone = set(removed)
    kept = [name for name in found.members if name not in gone]
    new = {name: text for name, text in texts.items() if name not in found.members}
    if not kept:
        whole = f"{{{layout.first}{layout.join(new)}{layout.close}}}" if new else "{}"
        return [(found.start, found.end, whole)] if new or found.members else []
    changes = [
        (found.members[name].start, found.members[name].end, text)
        for name, text in texts.items()
        if name in found.members
    ]
    end = found.members[kept[-1]].end
    if new:
        changes.append((end, end, layout.between + layout.join(new)))
    places = list(found.members.items())
    for (name, place), (_, after) in pairwise(places):
        if name in gone and place.name < end:  # up to what follows
            changes.append((place.name, after.name, ""))
    if places[-1][1].end > end:  # all after the last one that stays
        changes.append((end, places[-1][1].end, ""))
    return changes


def _apply(text: str, changes: list[_Change]) -> Iterator[str]:
    done = 0
    for start, end, instead in changes:
        yield text[done:start]
        yield instead
        done = end
    yield text[done:]
