"""The gaps: which tracks have no embedding, and the counters that say how this was found."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mert_backfill.counters import SCAN_SUMS, check_sums
from mert_backfill.library.listing import AudioFile, Listing
from mert_backfill.library.meta_file import MetaFile, stale_meta_keys
from mert_backfill.library.path_lists import PathList
from mert_backfill.records.ledger import Ledger
from mert_backfill.records.manifest import (
    EMBEDDING_FILE_MISSING,
    EMBEDDING_INVALID,
    MISSING_EMBEDDING_REF,
    MISSING_META,
    PendingTrack,
)
from mert_backfill.records.summary import SAMPLE_SIZE, Summary
from mert_backfill.store.vectors import VectorState


@dataclass(frozen=True)
class GapReport:
    """How the files of a listing divide.

    Attributes
    ----------
    summary : Summary
        The content of ``gaps/summary.json``.
    pending : tuple of PendingTrack
        The tracks to embed, in the order of the listing.
    scanned, quarantined, excluded : tuple of AudioFile
        Scanned files are embedded already or pending.
    released : tuple of str
        Ids of pending tracks that were quarantined, until `retry_failed` or the paths file
        named them.
    """

    summary: Summary
    pending: tuple[PendingTrack, ...]
    scanned: tuple[AudioFile, ...]
    quarantined: tuple[AudioFile, ...]
    excluded: tuple[AudioFile, ...]
    released: tuple[str, ...]

    @property
    def counts(self) -> dict[str, int]:
        """The counters of the summary."""
        return dict(self.summary.counts)


def find_gaps(
    listing: Listing,
    baseline: MetaFile,
    *,
    store_state: Callable[[str], VectorState],
    ledger: Ledger,
    exclude: PathList | None,
    only: PathList | None,
    retry_failed: bool,
) -> GapReport:
    """Divide a listing into junk, excluded, quarantined, embedded and pending files.

    A track that has an embedding counts as embedded even if it failed before. Quarantined are
    those of the others that the ledger says so of, unless `only` or `retry_failed` asks for them.

    Parameters
    ----------
    listing : Listing
        The library.
    baseline : MetaFile
        The rows that exist. References are checked for existence only.
    store_state : callable
        Tells for a track id what the store holds under the current profile.
    ledger : Ledger
        Tells who is quarantined.
    exclude, only : PathList or None
        What to leave out, and the only files to take.
    retry_failed : bool
        Try the quarantined tracks again.
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
        if reason is not None and ledger.quarantined(file) is not None:
            if not retry_failed and only is None:
                quarantined.append(file)
                continue
            released.append(file.track_id)
        scanned.append(file)
        if reason is not None:
            pending.append(pending_track(file, reason, keys[0] if keys else ""))
    return GapReport(
        summary=_summarise(
            listing,
            baseline,
            scanned=scanned,
            excluded=excluded,
            quarantined=quarantined,
            pending=pending,
        ),
        pending=tuple(pending),
        scanned=tuple(scanned),
        quarantined=tuple(quarantined),
        excluded=tuple(excluded),
        released=tuple(released),
    )


def pending_track(file: AudioFile, reason: str, meta_key: str = "") -> PendingTrack:
    """Return the row of the manifest for a file that is pending for a reason."""
    return PendingTrack(file.track_id, file.path, reason, meta_key, file.size_bytes, file.mtime_ns)


def _reason(
    track_id: str,
    keys: Sequence[str],
    baseline: MetaFile,
    store_state: Callable[[str], VectorState],
) -> str | None:
    """Return why a track is pending, None when it is embedded."""
    named = baseline.embeddings_of(keys)
    existing = [path for path in named if os.path.isfile(path)]
    if any(path.stem != track_id for path in existing):
        return None
    state = store_state(track_id)
    # a published meta.json names the vector in the store, whose state is known; where it is
    # another profile's, or in another folder of results, existing is enough
    if state is VectorState.VALID or (existing and state is VectorState.MISSING):
        return None
    if not keys:
        return MISSING_META
    if state is VectorState.INVALID:
        return EMBEDDING_INVALID
    return EMBEDDING_FILE_MISSING if named else MISSING_EMBEDDING_REF


def _summarise(
    listing: Listing,
    baseline: MetaFile,
    *,
    scanned: Sequence[AudioFile],
    excluded: Sequence[AudioFile],
    quarantined: Sequence[AudioFile],
    pending: Sequence[PendingTrack],
) -> Summary:
    """Return counters and samples, after checking the counters' sums."""
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
    check_sums("the scan", counts, SCAN_SUMS)
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
    samples = {name: list(paths[:SAMPLE_SIZE]) for name, paths in lists.items()}
    return Summary(counts, samples)
