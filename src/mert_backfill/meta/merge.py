"""Three versions of a meta.json in one: what was read, what we made of it, and what it is now."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from mert_backfill.library.meta_text import MetaEdit, MetaText, RawJson, says_the_same

_SHOWN_CHARACTERS = 60
Key = Callable[[str], str]


@dataclass(frozen=True)
class Conflict:
    """Something that both sides changed, each to another value.

    Attributes
    ----------
    where : str
        The row, and the field if it is one.
    ours, theirs : str or None
        The two values as they are written; None of one that was removed.
    """

    where: str
    ours: str | None
    theirs: str | None

    def __str__(self) -> str:
        return f"{self.where} is {_shown(self.ours)} here and {_shown(self.theirs)} there"


@dataclass(frozen=True)
class Merged:
    """The text of `theirs` with our changes in it, and what stands in their way."""

    text: str
    conflicts: tuple[Conflict, ...]


def merge(base: MetaText, ours: MetaText, theirs: MetaText, key: Key) -> Merged:
    """Return `theirs` with what differs between `base` and `ours`.

    What only they changed stays, and so does the layout of their file.

    Parameters
    ----------
    base, ours, theirs : MetaText
        What was read, what we made of it, and what it is now.
    key : callable
        Returns the comparison key of a row's key: a row that both added under two spellings is
        one.
    """
    merging = _Merging(base, ours, theirs, key)
    return Merged(theirs.edited(merging.edit()), tuple(merging.conflicts))


class _Merging:
    """Collects what is to change in `theirs`, and the conflicts on the way."""

    def __init__(self, base: MetaText, ours: MetaText, theirs: MetaText, key: Key) -> None:
        self._base, self._ours, self._theirs, self._key = base, ours, theirs, key
        self._fields: dict[str, dict[str, RawJson]] = {}
        self._dropped: dict[str, list[str]] = {}
        self._added: dict[str, RawJson] = {}
        self._removed: list[str] = []
        self.conflicts: list[Conflict] = []

    def edit(self) -> MetaEdit:
        """Return what is to change."""
        base, ours, theirs = (_rows(text) for text in (self._base, self._ours, self._theirs))
        added_there = {self._key(name): name for name in theirs if name not in base}
        for name in base:
            if name not in ours:
                self._remove(name, is_there=name in theirs)
            elif base[name] != ours[name]:
                self._change(name, is_there=name in theirs)
        for name in ours:
            if name not in base:
                self._add(name, added_there.get(self._key(name)))
        self._compare_entries()
        return MetaEdit(self._fields, self._dropped, self._added, self._removed)

    def _remove(self, name: str, *, is_there: bool) -> None:
        if not is_there:
            return
        if says_the_same(self._base.row(name), self._theirs.row(name)):
            self._removed.append(name)
        else:
            self._conflict(f"the row {name!r}", None, self._theirs.row(name))

    def _change(self, name: str, *, is_there: bool) -> None:
        if is_there:
            self._merge_fields(name, self._base.fields(name), self._ours.fields(name), name)
        elif not says_the_same(self._base.row(name), self._ours.row(name)):
            self._conflict(f"the row {name!r}", self._ours.row(name), None)

    def _add(self, name: str, theirs: str | None) -> None:
        if theirs is None:
            self._added[name] = RawJson(self._ours.row(name))
        else:
            self._merge_fields(name, {}, self._ours.fields(name), theirs)

    def _merge_fields(
        self, name: str, before: Mapping[str, str], ours: Mapping[str, str], their_name: str
    ) -> None:
        theirs = self._theirs.fields(their_name)
        for field, was, is_ours in _changed(before, ours):
            is_theirs = theirs.get(field)
            if _same(is_theirs, is_ours):
                continue
            if not _same(is_theirs, was):
                self._conflict(f"the field {field!r} of the row {name!r}", is_ours, is_theirs)
            elif is_ours is None:
                self._dropped.setdefault(their_name, []).append(field)
            else:
                self._fields.setdefault(their_name, {})[field] = RawJson(is_ours)

    def _compare_entries(self) -> None:
        theirs = self._theirs.entries()
        for name, _, is_ours in _changed(self._base.entries(), self._ours.entries()):
            if not _same(theirs.get(name), is_ours):  # we never change one
                self._conflict(f"the entry {name!r}", is_ours, theirs.get(name))

    def _conflict(self, where: str, ours: str | None, theirs: str | None) -> None:
        self.conflicts.append(Conflict(where, ours, theirs))


def _rows(text: MetaText) -> dict[str, str]:
    return {name: text.row(name) for name in text.document["tracks"]}


def _changed(
    before: Mapping[str, str], after: Mapping[str, str]
) -> Iterator[tuple[str, str | None, str | None]]:
    """Yield the name and both values of what differs; None stands for no value."""
    for name in {**before, **after}:
        was, now = before.get(name), after.get(name)
        if not _same(was, now):
            yield name, was, now


def _same(one: str | None, other: str | None) -> bool:
    if one is None or other is None:
        return one is other
    return says_the_same(one, other)


def _shown(text: str | None) -> str:
    if text is None:
        return "gone"
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."
