"""Which folders and formats of the library have their vectors: ``audit/folders.tsv``."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from mert_backfill.library.listing import AudioFile
from mert_backfill.library.roots import Root
from mert_backfill.system.tables import read_tsv, write_tsv


@dataclass(frozen=True)
class FolderCoverage:
    """The tracks of one format in one folder.

    Attributes
    ----------
    root : str
        Name of the root.
    folder : str
        The folder below the root; empty for the root itself.
    format : str
        The files' extension, in small letters and without its dot.
    tracks : int
        All of them: the sum of `embedded`, `failed`, `quarantined` and `open`.
    embedded_before : int
        Those that had a vector at the baseline.
    embedded, failed, quarantined, open : int
        What they are now.
    """

    root: str
    folder: str
    format: str
    tracks: int
    embedded_before: int
    embedded: int
    failed: int
    quarantined: int
    open: int

    @property
    def place(self) -> tuple[str, ...]:
        """The root and the folders below it, down to this one."""
        return (self.root, *(part for part in self.folder.split("/") if part))


_MAX_PLACES = 24
_NUMBERS = tuple(field.name for field in fields(FolderCoverage))[3:]


def count_folders(
    files: Sequence[AudioFile], roots: Iterable[Root], before: Sequence[str], now: Sequence[str]
) -> tuple[FolderCoverage, ...]:
    """Count what the tracks of each folder are, in the order of the files.

    Parameters
    ----------
    files : sequence of AudioFile
        The library.
    roots : iterable of Root
        Its roots.
    before, now : sequence of str
        What each file was at the baseline, and is now (`mert_backfill.health.rows`).
    """
    starts = {root.name: os.path.join(root.path, "") for root in roots}
    counts: defaultdict[tuple[str, str, str], Counter[str]] = defaultdict(Counter)
    for file, was, outcome in zip(files, before, now, strict=True):
        folder = os.path.dirname(file.path.removeprefix(starts.get(file.root, "")))
        counts[file.root, folder, extension(file.path)].update(
            {"tracks": 1, "embedded_before": int(was == "embedded"), outcome: 1}
        )
    return tuple(
        FolderCoverage(root, folder, format, **{name: count[name] for name in _NUMBERS})
        for (root, folder, format), count in counts.items()
    )


def extension(path: str) -> str:
    """Return a file's extension, in small letters and without its dot."""
    return os.path.splitext(path)[1].lower().removeprefix(".")


def shown_places(places: Sequence[tuple[str, ...]]) -> list[str]:
    """Return under which name each folder is counted in a chart or on the map.

    That is the deepest level of the library at which there are at most 24 folders.

    Parameters
    ----------
    places : sequence of tuple
        Of each folder its root's name, and the folders below that down to it.
    """
    depth = 2
    while depth < max(map(len, places), default=0):
        if len({place[: depth + 1] for place in places}) > _MAX_PLACES:
            break
        depth += 1
    several_roots = len({place[0] for place in places}) > 1
    return [
        "/".join(place[:depth] if several_roots or len(place) == 1 else place[1:depth])
        for place in places
    ]


def write_folders(path: Path | str, folders: Iterable[FolderCoverage]) -> None:
    """Write ``folders.tsv``."""
    write_tsv(path, [field.name for field in fields(FolderCoverage)], map(astuple, folders))


def read_folders(path: Path | str) -> list[FolderCoverage]:
    """Read what `write_folders` wrote."""
    return [
        FolderCoverage(
            row["root"],
            row["folder"],
            row["format"],
            **{name: int(row[name]) for name in _NUMBERS},
        )
        for row in read_tsv(path)
    ]
