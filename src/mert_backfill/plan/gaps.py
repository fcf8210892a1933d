"""The gaps: which tracks have no embedding, and the counters that say how this was found."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mert_backfill.counters import SCAN_SUMS
from mert_backfill.errors import UserError
from mert_backfill.failures import Failure
from mert_backfill.library.listing import AudioFile, Listing
from mert_backfill.library.meta_file import MetaFile, stale_meta_keys
from mert_backfill.library.path_lists import PathList
from mert_backfill.records.manifest import (
    EMBEDDING_FILE_MISSING,
    EMBEDDING_INVALID,
    MISSING_EMBEDDING_REF,
    MISSING_META,
    PendingTrack,
)
from mert_backfill.store.vectors import VectorState
from mert_backfill.system.tables import write_json

SAMPLE_SIZE = 25


@dataclass(frozen=True)
class GapReport:
    """How the files of a listing divide.

    Attributes
    ----------
    counts : dict
        The counters of ``gaps/summary.json``.
    samples : dict
        At most 25 paths (or keys of the baseline) for each counter that stands for a list.
    pending : tuple of PendingTrack
        The tracks to embed, in the order of the listing.
    scanned, quarantined, excluded : tuple of AudioFile
        Scanned files are embedded already or pending.
    released : tuple of str
        Ids of pending tracks that were quarantined, until `retry_failed` or the paths file
        named them.
    """

    counts: dict[str, int]
    samples: dict[str, list[str]]
    pending: tuple[PendingTrack, ...]
    scanned: tuple[AudioFile, ...]
    quarantined: tuple[AudioFile, ...]
    excluded: tuple[AudioFile, ...]
    released: tuple[str, ...]


def find_gaps(
    listing: Listing,
    baseline: MetaFile,
    *,
    store_state: Callable[[str], VectorState],
    quarantine: Mapping[str, Failure],
    exclude: PathList | None,
    only: PathList | None,
    retry_failed: bool,
) -> GapReport:
    """Divide a listing into junk, excluded, quarantined, embedded and pending files.

    A track that has an embedding counts as embedded even if it failed before. Among the
    others those are quarantined that failed for good and whose file has not changed since,
    unless `only` or `retry_failed` asks for them.

    Parameters
    ----------
    listing : Listing
        The library.
    baseline : MetaFile
        The rows that exist. References are checked for existence only.
    store_state : callable
        Tells for a track id what the store holds under the current profile.
    quarantine : mapping
        The latest permanent failure of each track id that has one.
    exclude, only : PathList or None
        What to leave out, and the only files to take.
    retry_failed : bool
        Try the quarantined tracks again.

    Raises
    ------
    UserError
        The counters do not balance, which would be a fault of this program.
    """
    scanned: list[AudioFile] = []
    excluded: list[AudioFile] = []
    quarantined: list[AudioFile] = []
    pending: list[PendingTrack] = []
    released: list[str] = []
    for file in listing.files:
        listed = only is None or only.contains(file.path)
        if not listed or (exclude is not None and exclude.contains(file.path)):
            excluded.append(file)
            continue
        keys = baseline.keys_of(file.path)
        reason = _reason(file.track_id, keys, baseline, store_state)
        if reason is None:
            scanned.append(file)
            continue
        failure = quarantine.get(file.track_id)
        if failure is not None and failure.is_of_file(file.size_bytes, file.mtime_ns):
            if not retry_failed and only is None:
                quarantined.append(file)
                continue
            released.append(file.track_id)
        scanned.append(file)
        key = keys[0] if keys else ""
        pending.append(
            PendingTrack(file.track_id, file.path, reason, key, file.size_bytes, file.mtime_ns)
        )

    no_row = [row.path for row in pending if row.reason == MISSING_META]
    no_embedding = [row.path for row in pending if row.reason != MISSING_META]
    stale = stale_meta_keys(listing, baseline)
    duplicate = baseline.duplicate_keys()
    counts = {
        "audio_files_found": len(listing.files) + len(listing.junk),
        "junk_files_total": len(listing.junk),
        "excluded_audio_files_total": len(excluded),
        "quarantined_total": len(quarantined),
        "audio_files_scanned": len(scanned),
        "already_embedded_total": len(scanned) - len(pending),
        "pending_embedding_total": len(pending),
        "missing_meta_total": len(no_row),
        "missing_embedding_ref_total": len(no_embedding),
        "stale_meta_paths_total": len(stale),
        "duplicate_meta_keys_total": len(duplicate),
    }
    _check_balance(counts)
    lists: dict[str, Sequence[str]] = {
        "junk_files": [file.path for file in listing.junk],
        "excluded_audio_files": [file.path for file in excluded],
        "quarantined": [file.path for file in quarantined],
        "pending_embedding": [row.path for row in pending],
        "missing_meta": no_row,
        "missing_embedding_ref": no_embedding,
        "stale_meta_paths": stale,
        "duplicate_meta_keys": duplicate,
        "not_regular": listing.not_regular,
        "unreadable_folders": listing.unreadable,
    }
    return GapReport(
        counts=counts,
        samples={name: list(paths[:SAMPLE_SIZE]) for name, paths in lists.items()},
        pending=tuple(pending),
        scanned=tuple(scanned),
        quarantined=tuple(quarantined),
        excluded=tuple(excluded),
        released=tuple(released),
    )


def write_summary(path: Path, report: GapReport) -> None:
    """Write counters and samples as JSON."""
    write_json(path, {"counts": report.counts, "samples": report.samples})


def _reason(
    track_id: str,
    keys: Sequence[str],
    baseline: MetaFile,
    store_state: Callable[[str], VectorState],
) -> str | None:
    """Return why a track is pending, None when it is embedded."""
    state: VectorState | None = None
    refs = 0
    for key in keys:
        path = baseline.embedding_path(key)
        if path is None:
            continue
        refs += 1
        if not os.path.isfile(path):
            continue
        if path.stem != track_id:
            return None
        # a published meta.json names the vector in the store, whose state is known
        state = state or store_state(track_id)
        if state is not VectorState.INVALID:
            return None
    state = state or store_state(track_id)
    if state is VectorState.VALID:
        return None
    if not keys:
        return MISSING_META
    if state is VectorState.INVALID:
        return EMBEDDING_INVALID
    return EMBEDDING_FILE_MISSING if refs else MISSING_EMBEDDING_REF


def _check_balance(counts: Mapping[str, int]) -> None:
    for total, parts in SCAN_SUMS:
        if counts[total] != sum(counts[part] for part in parts):
            raise UserError(
                f"internal: {total} is not the sum of {', '.join(parts)}; please report this"
            )
