"""The proof that a rebuilt meta.json is the baseline with more embeddings, and nothing less.

Where it was tidied, whatever a row held has to be in the row that took its place, or on record.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from mert_backfill.errors import UserError
from mert_backfill.hints import command
from mert_backfill.library.meta_file import (
    HARMONIC_FEATURES,
    SECTION_REFS,
    SECTION_VERSION,
    MetaFile,
)
from mert_backfill.library.meta_text import members_of, says_the_same
from mert_backfill.records.tidied import TidyChange

# what the rebuild may change in a row
EMBEDDING_FIELDS = frozenset(
    {"embedding", "embedding_source", "embedding_profile", "embedding_provenance"}
)
_SECTION_FIELDS = frozenset({*SECTION_REFS, *SECTION_VERSION})
_NOTHING: tuple[Any, ...] = ({}, [], "", None)


def check_nothing_lost(
    baseline: MetaFile,
    rebuilt: MetaFile,
    stale: Iterable[str],
    may_replace: Callable[[str], bool],
    tidied: Sequence[TidyChange] = (),
    archived: Collection[tuple[str, str]] = (),
) -> None:
    """Check that the rebuilt meta.json still holds all that the baseline held.

    Parameters
    ----------
    baseline, rebuilt : MetaFile
        The two.
    stale : iterable of str
        Keys of the baseline that name no file: the stale policy may take them out.
    may_replace : callable
        Tells for a key whether its row may name another embedding than it does.
    tidied : sequence of TidyChange
        What was tidied.
    archived : collection of (str, str)
        Keys and rows of the archive.

    Raises
    ------
    UserError
        A row is gone that is not stale, a field changed that is not about the embedding, an
        embedding was replaced that may not be, a value of a tidied row is nowhere, or something
        beside the tracks changed.
    """
    may_go, records = set(stale), _Records(tidied, archived)
    for key, row in baseline.tracks.items():
        is_there = key in rebuilt.tracks
        if is_there and baseline.text.row(key) == rebuilt.text.row(key):
            continue
        before = baseline.text.fields(key)
        may_change = _may_change(baseline, key, may_replace)
        kept = [name for name in row if name not in may_change]
        if key in records.touched:
            values = {name: before[name] for name in kept}
            if "features" in values:
                values["features"] = _but_for_harmony(values["features"])
            lost = records.find_lost(key, values, rebuilt)
        elif not is_there:
            lost = None
            if key not in may_go:
                raise _lost(f"the row {key!r} is gone")
        else:
            now = rebuilt.text.fields(key)
            lost = next((name for name in kept if not _is_same(name, before, now)), None)
        if lost is not None:
            raise _lost(f"the field {lost!r} of the row {key!r} changed")
    entries = rebuilt.text.entries()
    for name, text in baseline.text.entries().items():
        if name not in entries or not says_the_same(text, entries[name]):
            raise _lost(f"the entry {name!r} changed")


def _may_change(baseline: MetaFile, key: str, may_replace: Callable[[str], bool]) -> frozenset[str]:
    """Return the fields of a row that the rebuild may give other values."""
    if may_replace(key):
        return EMBEDDING_FIELDS | _SECTION_FIELDS
    return frozenset() if baseline.has_sections(key) else _SECTION_FIELDS


def _is_same(name: str, before: Mapping[str, str], now: Mapping[str, str]) -> bool:
    return name in now and _is_kept(name, before[name], now[name])


class _Records:
    """Where to look for what a tidied row held."""

    def __init__(self, tidied: Sequence[TidyChange], archived: Collection[tuple[str, str]]) -> None:
        self._archived = archived
        self._went_to: dict[str, str] = {}
        self._left: defaultdict[str, list[Mapping[str, str]]] = defaultdict(list)
        self.touched: set[str] = set()
        for change in tidied:
            self.touched.update(change.before)
            for key in change.before:
                if key != change.target:
                    self._went_to[key] = change.target
            for key, values in change.left.items():
                self._left[key].append(members_of(values) or {})

    def find_lost(self, key: str, before: Mapping[str, str], rebuilt: MetaFile) -> str | None:
        """Return a field of a row whose value is nowhere any more, None when there is none."""
        place, passed = key, [key]
        while place not in rebuilt.tracks and self._went_to.get(place):
            place = self._went_to[place]
            passed.append(place)
        if place in rebuilt.tracks:
            there: list[Mapping[str, str]] = [rebuilt.text.fields(place)]
        else:
            rows = (row for name, row in self._archived if name == key)
            there = [members_of(row) or {} for row in rows]
        # what was left on the way may have come from a row that it was united with before
        there += [values for name in passed for values in self._left[name]]
        for field, text in before.items():
            if not _is_held(text, [values[field] for values in there if field in values]):
                return field
        return None


def _is_held(text: str, where: Sequence[str]) -> bool:
    """Tell whether a value, or each part of it, is in some of the values."""
    value = json.loads(text)
    if value in _NOTHING or any(says_the_same(text, there) for there in where):
        return True
    if isinstance(value, dict):
        objects = [there for there in map(members_of, where) if there is not None]
        return all(
            _is_held(part, [there[name] for there in objects if name in there])
            for name, part in (members_of(text) or {}).items()
        )
    if isinstance(value, list) and all(isinstance(word, str) for word in value):
        return any(set(value) <= _words(there) for there in where)
    return False


def _words(text: str) -> set[str]:
    values = json.loads(text)
    return {it for it in values if isinstance(it, str)} if isinstance(values, list) else set()


def _is_kept(field: str, before: str, now: str) -> bool:
    """Tell whether a field says what it said; but for the sound's harmony, in features."""
    if says_the_same(before, now):
        return True
    if field != "features":
        return False
    had, has = _but_for_harmony(before), _but_for_harmony(now)
    return had == "null" or says_the_same(had, has)


def _but_for_harmony(features: str) -> str:
    """Return the text of a row's features without those that the rebuild may change."""
    members = members_of(features)
    if members is None:
        return features
    kept = {name: text for name, text in members.items() if name not in HARMONIC_FEATURES}
    return f"{{{', '.join(f'{json.dumps(name)}: {text}' for name, text in kept.items())}}}"


def _lost(what: str) -> UserError:
    return UserError(
        f"audit: the rebuilt meta.json is not the baseline with more embeddings: {what}; the "
        "audit was not written; if meta.json has changed meanwhile run "
        f"`{command()}`, else report this"
    )
