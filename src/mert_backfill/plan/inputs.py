"""What the plan is made from, read once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from mert_backfill.library.listing import Listing, check_not_shrunken, list_library
from mert_backfill.library.meta_file import MetaFile
from mert_backfill.library.path_lists import read_path_list
from mert_backfill.records.manifest import (
    PendingTrack,
)
from mert_backfill.records.scan_state import ScanState
from mert_backfill.settings import Settings


def list_scanned_library(settings: Settings) -> Listing:
    """List the library, refusing one that looks unmounted since the last scan.

    Raises
    ------
    UserError
        A root is missing, or holds far fewer files than the last scan found.
    """
    listing = list_library(settings.roots, settings.extensions)
    known = ScanState.read(settings.results).found_per_root
    check_not_shrunken(listing, known, settings.accept_shrunken_library)
    return listing


def unlisted_note(settings: Settings, listing: Listing) -> str:
    """Say how many lines of paths_file name nothing in the library; empty when all do."""
    if settings.paths_file is None:
        return ""
    only = read_path_list(settings.paths_file, settings.path_map, globs=False)
    absent = only.unmatched(file.path for file in (*listing.files, *listing.junk))
    if not absent:
        return ""
    return (
        f"{settings.paths_file}: {len(absent)} of {len(only)} listed paths are not in the library, "
        f"such as {absent[0]!r}"
    )


def read_baseline(settings: Settings) -> MetaFile:
    """Read the baseline that the settings name, or an empty one."""
    return MetaFile.load(
        settings.baseline,
        embedding_base=embedding_base(settings),
        path_map=settings.path_map,
    )


def embedding_base(settings: Settings) -> Path | None:
    """Return the folder that relative references start from, for a copy of the baseline too."""
    if settings.embedding_base is not None or settings.baseline is None:
        return settings.embedding_base
    return settings.baseline.parent.parent


def _first(
    rows: tuple[PendingTrack, ...], limit: int | None, attempts: Mapping[str, int]
) -> Sequence[PendingTrack]:
    """Return the first rows; under a limit those tried before come last, so that all get a turn."""
    if limit is None:
        return rows
    return sorted(rows, key=lambda row: attempts.get(row.track_id, 0))[:limit]
