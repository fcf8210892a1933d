"""The gaps: which tracks have no embedding, and the counters that say how this was found."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from operator import attrgetter
from pathlib import Path

from mert_backfill.errors import UserError
from mert_backfill.failures import Failure
from mert_backfill.library.listing import AudioFile, Listing
from mert_backfill.library.meta_file import Baseline
from mert_backfill.library.path_lists import PathList
from mert_backfill.store.vectors import VectorState
from mert_backfill.system.atomic import write_text
from mert_backfill.system.tables import format_tsv, read_tsv, write_json

MISSING_META = "missing_meta"
MISSING_EMBEDDING_REF = "missing_embedding_ref"
EMBEDDING_FILE_MISSING = "embedding_file_missing"
EMBEDDING_INVALID = "embedding_invalid"
SAMPLE_SIZE = 25


@dataclass(frozen=True, slots=True)
class GapRow:
    """A pending track: a row of the manifest and of a chunk file.

    `reason` is one of ``missing_meta``, ``missing_embedding_ref``,
    ``embedding_file_missing`` and ``embedding_invalid``, or ``missing_sidecar`` for a track
    that has its vector but not the sidecars asked for; `meta_key` is the key of its row in
    the baseline, or empty.
    """

    track_id: str
    path: str
    reason: str
    meta_key: str
    size_bytes: int
    mtime_ns: int


MISSING_SIDECAR = "missing_sidecar"
# a total, and the counters that have to add up to it
Sums = tuple[tuple[str, tuple[str, ...]], ...]
SCAN_SUMS: Sums = (
    (
        "audio_files_found",
        (
            "junk_files_total",
            "excluded_audio_files_total",
            "quarantined_total",
            "audio_files_scanned",
        ),
    ),
    ("audio_files_scanned", ("already_embedded_total", "pending_embedding_total")),
    ("pending_embedding_total", ("missing_meta_total", "missing_embedding_ref_total")),
)
MANIFEST_HEADER = tuple(field.name for field in fields(GapRow))


@dataclass(frozen=True)
class GapReport:
    """How the files of a listing divide.

    Attributes
    ----------
    counts : dict
        The counters of ``gaps/summary.json``.
    samples : dict
        At most 25 paths (or keys of the baseline) for each counter that stands for a list.
    pending : tuple of GapRow
        The tracks to embed, in the order of the listing.
    scanned, quarantined, excluded : tuple of AudioFile
        Scanned files are embedded already or pending.
    released : tuple of str
        Ids of pending tracks that were quarantined, until `retry_failed` or the paths file
        named them.
    """

    counts: dict[str, int]
    samples: dict[str, list[str]]
    pending: tuple[GapRow, ...]
    scanned: tuple[AudioFile, ...]
    quarantined: tuple[AudioFile, ...]
    excluded: tuple[AudioFile, ...]
    released: tuple[str, ...]


def find_gaps(
    listing: Listing,
    baseline: Baseline,
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
    baseline : Baseline
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
    pending: list[GapRow] = []
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
        if failure is not None and failure.is_of(file.size_bytes, file.mtime_ns):
            if not retry_failed and only is None:
                quarantined.append(file)
                continue
            released.append(file.track_id)
        scanned.append(file)
        key = keys[0] if keys else ""
        pending.append(
            GapRow(file.track_id, file.path, reason, key, file.size_bytes, file.mtime_ns)
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


def stale_meta_keys(listing: Listing, baseline: Baseline) -> list[str]:
    """Return the keys of the baseline for which the library holds no file, junk included.

    Nothing is said of keys below a folder that could not be read: their files may be there.
    """
    named: set[str] = set()
    for file in (*listing.files, *listing.junk):
        named.update(baseline.keys_of(file.path))
    hidden = baseline.keys_below(listing.unreadable)
    return [key for key in baseline.tracks if key not in named and key not in hidden]


def format_manifest(rows: Iterable[GapRow]) -> str:
    """Return the text of a manifest or of a chunk file."""
    return format_tsv(MANIFEST_HEADER, map(attrgetter(*MANIFEST_HEADER), rows))


def write_manifest(path: Path, rows: Iterable[GapRow]) -> None:
    """Write the pending tracks as TSV."""
    write_text(path, format_manifest(rows))


def read_manifest(path: Path) -> list[GapRow]:
    """Read a manifest or a chunk file.

    Raises
    ------
    UserError
        The file is missing, or was not written by `write_manifest`.
    """
    try:
        return [
            GapRow(
                track_id=row["track_id"],
                path=row["path"],
                reason=row["reason"],
                meta_key=row["meta_key"],
                size_bytes=int(row["size_bytes"]),
                mtime_ns=int(row["mtime_ns"]),
            )
            for row in read_tsv(path)
        ]
    except FileNotFoundError as error:
        raise UserError(f"{path}: there is no such file; run the scan again") from error
    except (csv.Error, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path}: this is not a list of tracks that the scan wrote; delete it and run again"
        ) from error


def write_summary(path: Path, report: GapReport) -> None:
    """Write counters and samples as JSON."""
    write_json(path, {"counts": report.counts, "samples": report.samples})


def write_pending_paths(path: Path, rows: Iterable[GapRow]) -> None:
    """Write the paths of `rows`, one a line; those that hold a line break are left out."""
    paths = (row.path for row in rows)
    write_text(path, "".join(f"{p}\n" for p in paths if "\n" not in p and "\r" not in p))


def _reason(
    track_id: str,
    keys: Sequence[str],
    baseline: Baseline,
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
