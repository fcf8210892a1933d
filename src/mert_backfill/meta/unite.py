"""Two rows of one track in one, of which no value is lost."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mert_backfill.library.meta_text import members_of, says_the_same, with_members
from mert_backfill.records.tidied import object_of
from mert_backfill.system.tables import format_json

_NOTHING: tuple[Any, ...] = ({}, [], "", None)
Fields = Mapping[str, str]  # the fields of a row, as JSON by their names


@dataclass(frozen=True)
class United:
    """What two rows make.

    Attributes
    ----------
    fields : dict
        The fields of the row that is kept.
    left_of_kept, left_of_other : dict
        The values of either row that are not in it.
    """

    fields: dict[str, str]
    left_of_kept: dict[str, str]
    left_of_other: dict[str, str]


def unite_rows(kept: Fields, other: Fields, *, other_embedding: bool = False) -> United:
    """Return the row that is kept with all that the other adds to it.

    Missing fields are filled in, lists of words united, of other lists the longer one wins,
    objects are united field by field. Of a field with two values the kept one stays.

    Parameters
    ----------
    kept, other : mapping
        The two rows.
    other_embedding : bool
        The other's ``embedding`` counts. All that is said of one vector stays together: of two
        vectors only one is described.
    """
    united = _unite_members(_without_embedding(kept), _without_embedding(other))
    ours, theirs = _embedding(kept), _embedding(other)
    if not ours or not theirs or _is_one_vector(ours, theirs):
        vector = _unite_members(ours, theirs)
    elif other_embedding or not _ref(ours):
        vector = United(theirs, _differing(ours, theirs), {})
    else:
        vector = United(ours, {}, _differing(theirs, ours))
    both = {**united.fields, **vector.fields}
    in_order = {name: both.pop(name) for name in kept if name in both}
    return United(
        {**in_order, **both},
        {**united.left_of_kept, **vector.left_of_kept},
        {**united.left_of_other, **vector.left_of_other},
    )


def _unite_members(kept: Fields, other: Fields) -> United:
    united = United(dict(kept), {}, {})
    for name, theirs in other.items():
        ours = kept.get(name)
        if ours is None:
            united.fields[name] = theirs
            continue
        united.fields[name], left, left_of_other = _unite_values(ours, theirs)
        if left is not None:
            united.left_of_kept[name] = left
        if left_of_other is not None:
            united.left_of_other[name] = left_of_other
    return united


def _unite_values(ours: str, theirs: str) -> tuple[str, str | None, str | None]:
    """Return one value of two, and what of either is not in it."""
    one, other = json.loads(ours), json.loads(theirs)
    if says_the_same(ours, theirs) or other in _NOTHING:
        return ours, None, None
    if one in _NOTHING:
        return theirs, None, None
    if isinstance(one, dict) and isinstance(other, dict):
        united = _unite_members(members_of(ours) or {}, members_of(theirs) or {})
        left = [object_of(it) if it else None for it in (united.left_of_kept, united.left_of_other)]
        return with_members(ours, united.fields), left[0], left[1]
    if isinstance(one, list) and isinstance(other, list):
        if _are_words(one) and _are_words(other):
            more = [word for word in dict.fromkeys(other) if word not in one]
            return (format_json([*one, *more]) if more else ours), None, None
        return (theirs, ours, None) if len(other) > len(one) else (ours, None, theirs)
    return ours, None, theirs


def _are_words(values: list[Any]) -> bool:
    return all(isinstance(value, str) for value in values)


def _embedding(row: Fields) -> dict[str, str]:
    return {name: value for name, value in row.items() if name.startswith("embedding")}


def _without_embedding(row: Fields) -> dict[str, str]:
    return {name: value for name, value in row.items() if not name.startswith("embedding")}


def _ref(embedding: Fields) -> Any:
    return json.loads(embedding.get("embedding", "null"))


def _is_one_vector(ours: Fields, theirs: Fields) -> bool:
    return not _ref(theirs) or _ref(ours) == _ref(theirs)


def _differing(left: Fields, kept: Fields) -> dict[str, str]:
    return {
        name: value
        for name, value in left.items()
        if name not in kept or not says_the_same(value, kept[name])
    }
