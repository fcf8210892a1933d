"""Lines of path_map that are missing, told from rows whose ends fit files of the library."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from mert_backfill.library.paths import fold_case, with_slashes

_FEWEST_ROWS = 5
_MOST_LINES = 5
_MANY = 20  # files of one name say little


@dataclass(frozen=True)
class Prefix:
    """A line of path_map that would make `rows` stale rows fit files of the library."""

    theirs: str
    ours: str
    rows: int

    def __str__(self) -> str:
        return (
            f"{self.rows} stale rows would fit the library with this line in meta.path_map: "
            f'- {{from: "{self.theirs}", to: "{self.ours}"}}'
        )


def likely_prefixes(meta_keys: Sequence[str], paths: Sequence[str]) -> tuple[Prefix, ...]:
    """Return the lines that fit most rows, those of most rows first.

    Parameters
    ----------
    meta_keys : sequence of str
        Rows that name nothing below a root.
    paths : sequence of str
        The files of the library [absolute].
    """
    by_name: defaultdict[str, list[list[str]]] = defaultdict(list)
    for path in paths:
        parts = path.split("/")
        by_name[fold_case(parts[-1])].append(parts)
    votes: Counter[tuple[str, str]] = Counter()
    for key in meta_keys:
        parts = with_slashes(key).split("/")
        for other in by_name.get(fold_case(parts[-1]), ())[:_MANY]:
            # of both something is left: a drive, and a folder below /
            same = min(_common_end(parts, other), len(parts) - 1, len(other) - 2)
            if same >= 2:  # the name, and a folder
                votes["/".join(parts[:-same]), "/".join(other[:-same])] += 1
    return tuple(
        Prefix(theirs, ours, rows)
        for (theirs, ours), rows in votes.most_common(_MOST_LINES)
        if rows >= _FEWEST_ROWS and theirs
    )


def _common_end(one: Sequence[str], other: Sequence[str]) -> int:
    same = 0
    for ours, theirs in zip(reversed(one), reversed(other), strict=False):
        if fold_case(ours) != fold_case(theirs):
            break
        same += 1
    return same
