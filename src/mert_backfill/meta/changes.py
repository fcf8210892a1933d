"""Carries out what puts meta.json in order: rows that move, become one, or leave.

What was decided once is carried out anew at each rebuild, on the rows as they are then, for as
long as it still holds: a row whose file is back stays where it is, and so does one that is not in
the baseline any more because the change was published.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from mert_backfill.library.listing import AudioFile
from mert_backfill.library.meta_file import MetaFile
from mert_backfill.library.meta_text import MetaEdit, RawJson, without_spaces
from mert_backfill.library.paths import PathMap
from mert_backfill.meta.unite import unite_rows
from mert_backfill.records.tidied import TidyChange, object_of

# what this workflow writes into a row; a row of nothing else was added by it
_OUR_FIELDS = ("artist", "title")


def is_ours(row: Mapping[str, Any]) -> bool:
    """Tell whether a row holds nothing but what this workflow writes into new ones."""
    return all(name in _OUR_FIELDS or name.startswith("embedding") for name in row)


@dataclass(frozen=True)
class Known:
    """What is known of the library when changes are carried out.

    Attributes
    ----------
    files : sequence of AudioFile
        Its tracks.
    stale : frozenset of str
        Keys for which it holds no file.
    path_map : PathMap
        Tells which keys name the same file.
    counts : callable
        Tells whether the vector that a row names is to stay: one that cannot be used, or of
        another recipe where all tracks are to have one, gives way.
    """

    files: Sequence[AudioFile]
    stale: frozenset[str]
    path_map: PathMap
    counts: Callable[[Mapping[str, Any], Path], bool]

    @cached_property
    def names(self) -> frozenset[str]:
        """The comparison keys of all tracks."""
        return frozenset(self.path_map.key_of_local(file.path) for file in self.files)


@dataclass(frozen=True)
class Carried:
    """A meta.json in which changes were carried out.

    Attributes
    ----------
    text : str
        The whole meta.json.
    done : tuple
        For each change that was asked for what was done, or None where it does not hold (any more).
    """

    text: str
    done: tuple[TidyChange | None, ...]

    def log(self, wanted: Sequence[TidyChange]) -> list[TidyChange]:
        """Return what was done, and as it was asked for what was not."""
        return [done or change for done, change in zip(self.done, wanted, strict=True)]


def carry_out(meta: MetaFile, wanted: Sequence[TidyChange], known: Known) -> Carried:
    """Carry out changes, one after the other.

    Parameters
    ----------
    meta : MetaFile
        The meta.json; it is not changed.
    wanted : sequence of TidyChange
        What to do; rows that they hold are those of another time.
    known : Known
        The library.
    """
    rows = _Rows(meta, known)
    done = tuple(rows.change(change) for change in wanted)
    return Carried(meta.text.edited(rows.edit()) if any(done) else meta.text.text, done)


@dataclass
class _Row:
    """A row on its way: the key that it had, and what it holds now."""

    origin: str
    fields: dict[str, str]
    has_vector: bool


class _Rows:
    """The rows of a meta.json while changes are carried out, by the keys that they have then."""

    def __init__(self, meta: MetaFile, known: Known) -> None:
        self._meta, self._known = meta, known
        self._places = {key: place for place, key in enumerate(meta.tracks)}
        self._touched: dict[str, _Row] = {}
        self._left: set[str] = set()  # keys under which no row is any more
        self._moved: dict[str, list[str]] = {}  # comparison keys to the keys that rows moved to
        self._gone: list[str] = []  # keys of meta.json whose rows are in no other

    def change(self, wanted: TidyChange) -> TidyChange | None:
        """Carry out a change, unless it does not hold."""
        done = {"relink": self._relink, "merge": self._merge, "archive": self._archive}
        return done[wanted.change](wanted)

    def edit(self) -> MetaEdit:
        """Return what is to change in the text."""
        fields, dropped, renamed = {}, {}, {}
        for key, row in self._touched.items():
            before = self._meta.text.fields(row.origin)
            now = row.fields.items()
            fields[row.origin] = {n: RawJson(text) for n, text in now if before.get(n) != text}
            dropped[row.origin] = [name for name in before if name not in row.fields]
            if key != row.origin:
                renamed[row.origin] = key
        return MetaEdit(fields=fields, dropped=dropped, removed=self._gone, renamed=renamed)

    def _relink(self, wanted: TidyChange) -> TidyChange | None:
        name = self._known.path_map.key(wanted.target)
        if wanted.meta_key not in self._known.stale or name not in self._known.names:
            return None
        there = [key for key in self._keys_of(name) if key != wanted.meta_key]
        row, others = self._take(wanted.meta_key), [self._take(key) for key in there]
        if row is None or not all(other and is_ours(other.fields) for other in others):
            return None
        before = self._texts([wanted.meta_key, *there])
        left: dict[str, str] = {}
        for key in there:
            self._unite(wanted.meta_key, key, left)
        self._rename(wanted.meta_key, wanted.target)
        return self._done(wanted, before, left)

    def _merge(self, wanted: TidyChange) -> TidyChange | None:
        key, target = wanted.meta_key, wanted.target
        same = self._known.path_map.key
        if key == target or same(key) != same(target):
            return None
        if self._take(key) is None or self._take(target) is None:
            return None
        before = self._texts([target, key])
        left: dict[str, str] = {}
        self._unite(target, key, left)
        return self._done(wanted, before, left)

    def _archive(self, wanted: TidyChange) -> TidyChange | None:
        key = wanted.meta_key
        if key not in self._known.stale or os.path.lexists(self._known.path_map.to_local(key)):
            return None
        row = self._take(key)
        if row is None:
            return None
        before = self._texts([key])
        if wanted.before and wanted.before != before:  # somebody has made something of it since
            return None
        self._remove(key)
        return self._done(wanted, before, {})

    def _done(self, wanted: TidyChange, before: dict[str, str], left: dict[str, str]) -> TidyChange:
        return replace(
            wanted,
            before=before,
            after=self._texts([wanted.target]) if wanted.target else {},
            places={key: self._places[key] for key in before if key in self._places},
            left=left,
        )

    def _unite(self, kept: str, other: str, left: dict[str, str]) -> None:
        """Add all that a row holds to another one; `left` gets what finds no place there."""
        one, two = self._touched[kept], self._touched[other]
        united = unite_rows(
            one.fields, two.fields, other_embedding=two.has_vector and not one.has_vector
        )
        one.fields, one.has_vector = united.fields, one.has_vector or two.has_vector
        for key, values in ((kept, united.left_of_kept), (other, united.left_of_other)):
            if values:
                left[key] = object_of(values)
        self._remove(other)

    def _take(self, key: str) -> _Row | None:
        """Return the row that is under a key now, None when there is none."""
        if key not in self._touched:
            if key in self._left or key not in self._meta.tracks:
                return None
            path = self._meta.embedding_path(key)
            has_vector = path is not None and self._known.counts(self._meta.tracks[key], path)
            self._touched[key] = _Row(key, self._meta.text.fields(key), has_vector)
        return self._touched[key]

    def _keys_of(self, name: str) -> list[str]:
        """Return the keys that mean a file now."""
        keys = [*self._meta.comparison_keys().get(name, ()), *self._moved.get(name, ())]
        return [key for key in dict.fromkeys(keys) if key not in self._left]

    def _remove(self, key: str) -> None:
        self._gone.append(self._touched.pop(key).origin)
        self._left.add(key)

    def _rename(self, key: str, new: str) -> None:
        row = self._touched.pop(key)
        self._left.add(key)
        self._left.discard(new)
        self._touched[new] = row
        self._moved.setdefault(self._known.path_map.key(new), []).append(new)

    def _texts(self, keys: Sequence[str]) -> dict[str, str]:
        rows = {key: self._touched[key] for key in keys if key in self._touched}
        return {key: without_spaces(object_of(row.fields)) for key, row in rows.items()}
