"""Scanning: the library against its baseline and the store, written down as the gap."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from mert_backfill.config import Settings
from mert_backfill.library.listing import Listing, check_not_shrunken, list_library
from mert_backfill.library.meta_file import Baseline
from mert_backfill.library.path_lists import read_path_list
from mert_backfill.plan.gaps import (
    MISSING_SIDECAR,
    GapReport,
    GapRow,
    find_gaps,
    write_manifest,
    write_pending_paths,
    write_summary,
)
from mert_backfill.records.ledger import read_ledger
from mert_backfill.store.profile import Profile
from mert_backfill.store.sidecars import TrackStore, open_track_store
from mert_backfill.store.vectors import VectorState
from mert_backfill.system.tables import write_json


@dataclass(frozen=True)
class ScanState:
    """What the last scan was about.

    Attributes
    ----------
    fingerprint : str
        What made it run.
    key : str
        The part of it that stands for library, baseline, lists and settings.
    found_per_root : mapping
        Files found below each root, by root name.
    released : mapping
        Quarantined tracks that were put back into the manifest, and their attempts then.
    """

    fingerprint: str = ""
    key: str = ""
    found_per_root: Mapping[str, int] = field(default_factory=dict)
    released: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def read(cls, results: Path) -> ScanState:
        """Read the state; a missing or damaged one is an empty one."""
        try:
            values = json.loads(_state_file(results).read_text(encoding="utf-8"))
            return cls(**{name: values[name] for name in cls.__dataclass_fields__})
        except (OSError, ValueError, KeyError, TypeError):
            return cls()

    def write(self, results: Path) -> None:
        """Write the state atomically."""
        write_json(_state_file(results), asdict(self))


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


def find_library_gaps(settings: Settings, listing: Listing, profile: Profile) -> GapReport:
    """Sort the listed files into counters and pending tracks; nothing is written."""
    exclude = only = None
    if settings.exclude_file is not None:
        exclude = read_path_list(settings.exclude_file, settings.path_map, globs=True)
    if settings.paths_file is not None:
        only = read_path_list(settings.paths_file, settings.path_map, globs=False)
    store = open_track_store(settings.results, profile, settings.sidecars)
    report = find_gaps(
        listing,
        read_baseline(settings),
        store_state=store.vectors.state,
        quarantine=read_ledger(settings.results / "chunks", profile.name).quarantine,
        exclude=exclude,
        only=only,
        retry_failed=settings.retry_failed,
    )
    return _with_missing_sidecars(report, store) if store.sidecars else report


def _with_missing_sidecars(report: GapReport, store: TrackStore) -> GapReport:
    """Add the tracks that have their vector in the store but lack a sidecar."""
    pending = {row.track_id for row in report.pending}
    lacking = tuple(
        GapRow(file.track_id, file.path, MISSING_SIDECAR, "", file.size_bytes, file.mtime_ns)
        for file in report.scanned
        if file.track_id not in pending
        and store.vectors.state(file.track_id) is VectorState.VALID
        and store.missing(file.track_id)
    )
    counts = {**report.counts, "missing_sidecar_total": len(lacking)}
    return replace(report, counts=counts, pending=report.pending + lacking)


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


def read_baseline(settings: Settings) -> Baseline:
    """Read the baseline that the settings name, or an empty one."""
    return Baseline.load(
        settings.baseline,
        embedding_base=embedding_base(settings),
        path_map=settings.path_map,
    )


def embedding_base(settings: Settings) -> Path | None:
    """Return the folder that relative references start from, for a copy of the baseline too."""
    if settings.embedding_base is not None or settings.baseline is None:
        return settings.embedding_base
    return settings.baseline.parent.parent


def write_scan(settings: Settings, profile: Profile, key: str, fingerprint: str) -> GapReport:
    """Scan the library and write manifest, summary, pending paths and the scan's state.

    Parameters
    ----------
    key, fingerprint : str
        What made the scan run; see `ScanState`.

    Raises
    ------
    UserError
        A root is missing or looks unmounted, the baseline or a list cannot be read.
    """
    results = settings.results
    listing = list_scanned_library(settings)
    report = find_library_gaps(settings, listing, profile)
    failures = read_ledger(results / "chunks", profile.name).failures
    write_summary(results / "gaps" / "summary.json", report)
    released = {track: failures[track].attempts for track in report.released}
    planned = _first(report.pending, settings.limit, released)
    write_pending_paths(results / "gaps" / "pending_embedding_paths.txt", planned)
    ScanState(
        fingerprint=fingerprint,
        key=key,
        found_per_root=listing.found_per_root(),
        released=released,
    ).write(results)
    write_manifest(results / "gaps" / "manifest.tsv", planned)
    return report


def _first(
    rows: tuple[GapRow, ...], limit: int | None, attempts: Mapping[str, int]
) -> Sequence[GapRow]:
    """Return the first rows; under a limit those tried before come last, so that all get a turn."""
    if limit is None:
        return rows
    return sorted(rows, key=lambda row: attempts.get(row.track_id, 0))[:limit]


def _state_file(results: Path) -> Path:
    return results / ".state" / "scan.json"
