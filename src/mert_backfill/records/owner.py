"""Whose the results folder is: the library of its last run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from mert_backfill.library.roots import Root
from mert_backfill.results import Results
from mert_backfill.system.tables import read_json, write_json


@dataclass(frozen=True)
class Owner:
    """The library that a results folder belongs to.

    Attributes
    ----------
    roots : tuple of Root
        Its music folders.
    baseline : str
        Its meta.json; empty where it has none.
    is_demo : bool
        It is the demo library.
    tracks : tuple of str
        The smallest ids among its tracks: as good as drawn by lot, and the same lot each time.
    command : str
        The command of its last run.
    """

    roots: tuple[Root, ...]
    baseline: str
    is_demo: bool
    tracks: tuple[str, ...]
    command: str

    def __str__(self) -> str:
        first, *others = self.roots
        more = f" and {len(others)} more" if others else ""
        return f"{first.name} ({first.path}){more}"

    @classmethod
    def read(cls, results: Results) -> Owner | None:
        """Return whose the folder is; None where that is unknown: it is new, or of before."""
        try:
            values = read_json(results.owner)
            roots = [Root(root["name"], Path(root["path"])) for root in values["roots"]]
            named = {name: str(values[name]) for name in ("baseline", "command")}
            tracks = tuple(map(str, values["tracks"]))
            return cls(_filled(roots), is_demo=bool(values["is_demo"]), tracks=tracks, **named)
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, results: Results) -> None:
        """Write the record atomically, if it says anything new."""
        if Owner.read(results) == self:
            return
        roots = [{"name": root.name, "path": str(root.path)} for root in self.roots]
        write_json(results.owner, {**asdict(self), "roots": roots})


def _filled(roots: Sequence[Root]) -> tuple[Root, ...]:
    if not roots:
        raise ValueError("a library without roots")
    return tuple(roots)
