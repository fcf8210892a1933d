"""Whether the last scan still holds."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from mert_backfill.errors import UserError
from mert_backfill.library.listing import Listing
from mert_backfill.library.path_lists import read_path_list
from mert_backfill.plan.chunks import Plan
from mert_backfill.records.ledger import read_ledger
from mert_backfill.records.scan_state import ScanState
from mert_backfill.records.summary import read_summary
from mert_backfill.records.tracks import finished_chunks
from mert_backfill.results import Results
from mert_backfill.settings import Settings
from mert_backfill.store.profile import Profile
from mert_backfill.store.tracks import TrackStore
from mert_backfill.store.vectors import shard_files
from mert_backfill.system.tables import read_tsv


def beyond_limit(settings: Settings, plan: Plan) -> int:
    """Return how many pending tracks a limit keeps out of the plan."""
    if settings.limit is None:
        return 0
    return max(0, read_summary(settings.results.summary).pending - len(plan.track_ids))


def lost_vectors(
    results: Results, listing: Listing, profile: Profile, store: TrackStore, plan: Plan | None
) -> list[str]:
    """Return listed tracks whose recorded vector or sidecar is gone from the store or damaged.

    A file is read only when it is younger than the record of it: anything that damages a file
    later, other than the disk itself, leaves that mark.
    """
    wanted = {sidecars.kind for sidecars in store.sidecars}
    tables = [
        (table.stat().st_mtime_ns, table)
        for name, made in finished_chunks(results, profile.name).items()
        if wanted <= made  # sidecars asked for later are no loss
        for table in [results.tracks_table(name)]
    ]
    recorded: dict[str, int] = {}
    for written, table in sorted(tables):
        for row in read_tsv(table):
            # one that failed for good since is no loss either: it is quarantined
            recorded[row["track_id"]] = 0 if row["status"] == "failed" else written
    if not recorded:
        return []
    for chunk in plan.unfinished if plan else ():  # these are on their way
        for track in plan.tracks[chunk] if plan else ():
            recorded.pop(track, None)
    stats = [dict(shard_files(folder)) for folder in store.folders]
    sizes = [{stat.st_size for stat in found.values()} for found in stats]
    uniform = all(len(found) <= 1 for found in sizes)
    lost = []
    for file in listing.files:
        written = recorded.get(file.track_id, 0)
        if not written:
            continue
        marks = [found.get(file.track_id) for found in stats]
        sound = uniform and all(stat and stat.st_mtime_ns <= written for stat in marks)
        if not sound and not store.is_complete(file.track_id):
            lost.append(file.track_id)
    return sorted(lost)


def tracks_to_retry(
    settings: Settings,
    listing: Listing,
    profile: Profile,
    state: ScanState,
    plan: Plan | None,
    key: str,
) -> list[tuple[str, int]]:
    """Return the quarantined tracks that this run is asked to try again, and their attempts."""
    if not settings.retry_failed:
        return []
    if plan is not None and plan.unfinished and state.key == key and state.released:
        return []  # a retry that was interrupted: its plan goes on
    ledger = read_ledger(settings.results, profile.name)
    return sorted(
        (file.track_id, failure.attempts)
        for file in listing.files
        if (failure := ledger.quarantined(file)) is not None
    )


def library_key(settings: Settings, listing: Listing, profile: Profile) -> str:
    """Return what stands for library, baseline, lists and settings."""
    return digest(
        [
            listing.fingerprint(),
            [str(root.path) for root in settings.roots],  # manifest and meta.json name them
            _file_mark(settings.baseline),
            str(settings.embedding_base),
            settings.path_map.pairs,
            _content_mark(settings.exclude_file, settings),
            _content_mark(settings.paths_file, settings),
            settings.chunk_size,
            settings.limit,
            profile.fingerprint,
            settings.sidecars,
        ]
    )


def _file_mark(path: Path | None) -> list[object]:
    if path is None:
        return []
    try:
        stat = os.stat(path)
    except OSError as error:
        raise UserError(
            f"meta.baseline: {path}: {error.strerror}; correct the path, or set it to null"
        ) from error
    return [str(path), stat.st_size, stat.st_mtime_ns]


def _content_mark(path: Path | None, settings: Settings) -> list[str]:
    if path is None:
        return []
    read_path_list(path, settings.path_map, globs=True)  # refuses what is no list
    return [str(path), hashlib.sha256(path.read_bytes()).hexdigest()]


def digest(value: Any) -> str:
    """Return the sha256 of a value that JSON can hold."""
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()
