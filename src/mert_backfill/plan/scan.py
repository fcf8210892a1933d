"""Scanning: the library against its baseline and the store, written down as the gap."""

from __future__ import annotations

from dataclasses import replace

from mert_backfill.library.listing import Listing
from mert_backfill.library.path_lists import read_path_list
from mert_backfill.plan.gaps import GapReport, find_gaps, pending_track
from mert_backfill.plan.inputs import _first, list_scanned_library, read_baseline
from mert_backfill.records.ledger import read_ledger
from mert_backfill.records.manifest import (
    MISSING_SIDECAR,
    write_manifest,
    write_pending_paths,
)
from mert_backfill.records.scan_state import ScanState
from mert_backfill.records.summary import write_summary
from mert_backfill.settings import Settings
from mert_backfill.store.profile import Profile
from mert_backfill.store.tracks import TrackStore, open_track_store
from mert_backfill.store.vectors import VectorState


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
        ledger=read_ledger(settings.results, profile.name),
        exclude=exclude,
        only=only,
        retry_failed=settings.retry_failed,
    )
    return _with_missing_sidecars(report, store) if store.sidecars else report


def _with_missing_sidecars(report: GapReport, store: TrackStore) -> GapReport:
    """Add the tracks that have their vector in the store but lack a sidecar."""
    pending = {row.track_id for row in report.pending}
    lacking = tuple(
        pending_track(file, MISSING_SIDECAR)
        for file in report.scanned
        if file.track_id not in pending
        and store.vectors.state(file.track_id) is VectorState.VALID
        and store.missing(file.track_id)
    )
    counts = {**report.counts, "missing_sidecar_total": len(lacking)}
    summary = replace(report.summary, counts=counts)
    return replace(report, summary=summary, pending=report.pending + lacking)


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
    failures = read_ledger(results, profile.name).failures
    write_summary(results.summary, report.summary)
    released = {track: failures[track].attempts for track in report.released}
    planned = _first(report.pending, settings.limit, released)
    write_pending_paths(results.pending_paths, planned)
    ScanState(
        fingerprint=fingerprint,
        key=key,
        found_per_root=listing.found_per_root(),
        released=released,
    ).write(results)
    write_manifest(results.manifest, planned)
    return report
