"""Scanning: the library against its baseline and the store, written down as the gap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from mert_backfill.plan.gaps import Choice, GapReport, VectorChecks, find_gaps, pending_track
from mert_backfill.plan.inputs import ScanInputs, read_inputs
from mert_backfill.records.manifest import (
    MISSING_SIDECAR,
    PendingTrack,
    write_manifest,
    write_pending_paths,
)
from mert_backfill.records.scan_state import ScanState
from mert_backfill.records.summary import SAMPLE_SIZE, Summary, write_summary
from mert_backfill.settings import Settings
from mert_backfill.store.named import folder_marks
from mert_backfill.store.profile import Profile
from mert_backfill.store.tracks import Need
from mert_backfill.store.vectors import VectorState


def find_library_gaps(inputs: ScanInputs) -> GapReport:
    """Sort the listed files into counters and pending tracks."""
    choice = Choice(inputs.exclude, inputs.only, inputs.settings.retry_failed, inputs.quarantine)
    report = find_gaps(
        inputs.listing,
        inputs.baseline,
        checks=VectorChecks(inputs.store.vector, inputs.named.state, inputs.is_changed),
        ledger=inputs.ledger,
        choice=choice,
    )
    if not inputs.settings.embedding.sidecars:
        return report
    return _with_missing_sidecars(report, inputs, choice)


def _with_missing_sidecars(report: GapReport, inputs: ScanInputs, choice: Choice) -> GapReport:
    """Add the tracks that have their vector but lack a sidecar.

    They count as embedded. Those that failed for good stay out, unless they are to be tried again.
    """
    for_all = inputs.settings.embedding.sidecars_for == "all"
    pending = {row.track_id for row in report.pending}
    lacking: list[PendingTrack] = []
    released = list(report.released)
    theirs: dict[str, list[str]] = {}
    only_harmonic = 0
    for file in report.scanned:
        track = file.track_id
        is_ours = inputs.store.vector(track) is VectorState.VALID
        if track in pending or not (is_ours or for_all):
            continue
        has = inputs.theirs(file) if for_all else frozenset()
        missing = inputs.store.missing(track, Need(vector=False, besides=has))
        has_failed = choice.lists(file) or inputs.ledger.quarantined(file) is not None
        if not missing or (has_failed and not choice.releases):
            continue
        keys = inputs.baseline.keys_of(file.path)
        lacking.append(pending_track(file, MISSING_SIDECAR, keys[0] if keys else ""))
        only_harmonic += missing == ["harmonic"]
        if has_failed:
            released.append(track)
        if has:
            theirs[track] = sorted(has)
    counts = {
        **report.counts,
        "missing_sidecar_total": len(lacking),
        "missing_harmonic_only_total": only_harmonic,
    }
    paths = [row.path for row in lacking[:SAMPLE_SIZE]]
    samples = {**report.summary.samples, "missing_sidecar": paths}
    return replace(
        report,
        summary=Summary(counts, samples),
        pending=report.pending + tuple(lacking),
        released=tuple(released),
        theirs=theirs,
    )


def write_scan(settings: Settings, profile: Profile, key: str, fingerprint: str) -> GapReport:
    """Scan the library and write manifest, summary, pending paths and the scan's state.

    Parameters
    ----------
    settings : Settings
        The configuration.
    profile : Profile
        The profile of the store.
    key, fingerprint : str
        What made the scan run; see `ScanState`.

    Raises
    ------
    UserError
        A root is missing or looks unmounted, the baseline or a list cannot be read.
    """
    inputs, results = read_inputs(settings, profile), settings.results
    report = find_library_gaps(inputs)
    failures = inputs.ledger.failures
    released = {
        track: failures[track].attempts if track in failures else 0 for track in report.released
    }
    planned = _first_rows(report.pending, settings.chunking.limit, released)
    inputs.remembered.write()
    write_summary(results.summary, report.summary)
    write_pending_paths(results.pending_paths, planned)
    ScanState(
        fingerprint=fingerprint,
        key=key,
        found_per_root=inputs.listing.found_per_root(),
        released=released,
        holders=inputs.listing.holders,
        mounts=inputs.listing.mounts,
        found_per_folder=inputs.listing.found_per_folder(),
        vector_folders=folder_marks(inputs.vector_folders()),
        theirs=report.theirs,
    ).write(results)
    write_manifest(results.manifest, planned)
    return report


def _first_rows(
    rows: Sequence[PendingTrack], limit: int | None, attempts: Mapping[str, int]
) -> Sequence[PendingTrack]:
    """Return the first rows; under a limit those tried before come last, so that all get a turn."""
    if limit is None:
        return rows
    return sorted(rows, key=lambda row: attempts.get(row.track_id, 0))[:limit]
