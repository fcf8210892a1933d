"""What writing one meta.json over another does, in numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mert_backfill.words import counted


@dataclass(frozen=True)
class Difference:
    """Rows that came, got a vector, left, and changed otherwise."""

    added: int
    filled: int
    removed: int
    changed: int

    @classmethod
    def of(cls, before: Mapping[str, Any], after: Mapping[str, Any]) -> Difference:
        """Compare two meta.json; both map keys to rows in ``tracks``."""
        old, new = before["tracks"], after["tracks"]
        both = [(old[key], new[key]) for key in new if key in old]
        filled = sum(
            one != other and _without_ours(one) == _without_ours(other) for one, other in both
        )
        same = sum(one == other for one, other in both)
        return cls(
            added=len(new) - len(both),
            filled=filled,
            removed=len(old) - len(both),
            changed=len(both) - filled - same,
        )

    def __str__(self) -> str:
        others = f"{self.changed:,} changed otherwise" if self.changed else "nothing else changed"
        return (
            f"{counted(self.added, 'row')} added, {self.filled:,} filled in, "
            f"{self.removed:,} removed, {others}"
        )


def _without_ours(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row without what an embedding writes into it."""
    return {name: value for name, value in row.items() if not name.startswith("embedding")}
