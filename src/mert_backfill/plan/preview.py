"""What there is to do, told before anything runs; and whether the last scan still holds.

The fingerprint that `take_survey` returns is a parameter of the rule that scans: a changed
fingerprint makes Snakemake scan and plan again, an equal one leaves a plan alone that may be
half done.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from mert_backfill.chunk.finish import finished_chunks, tracks_table
from mert_backfill.config import Settings
from mert_backfill.errors import UserError
from mert_backfill.library.listing import Listing, check_not_shrunken, list_library
from mert_backfill.library.path_lists import read_path_list
from mert_backfill.plan.chunks import chunk_names
from mert_backfill.plan.gaps import read_manifest
from mert_backfill.plan.scan import ScanState, find_library_gaps, unlisted_note
from mert_backfill.records.ledger import read_ledger
from mert_backfill.store.profile import Profile
from mert_backfill.store.sidecars import TrackStore, open_track_store
from mert_backfill.store.vectors import shard_files
from mert_backfill.system.tables import read_tsv


@dataclass(frozen=True)
class Survey:
    """The library as it is now, and what is left to do.

    Attributes
    ----------
    key, fingerprint : str
        See `ScanState`.
    files_found, tracks_pending, chunks_remaining : int
        What the preview tells.
    plan_holds : bool
        The plan that there is goes on; else the library is scanned and planned again.
    note : str
        What else the user should know, or nothing.
    """

    key: str
    fingerprint: str
    files_found: int
    tracks_pending: int
    chunks_remaining: int
    plan_holds: bool
    note: str

    def __str__(self) -> str:
        counts = (
            f"files found: {self.files_found}, tracks pending: {self.tracks_pending}, "
            f"chunks remaining: {self.chunks_remaining}"
        )
        return f"{self.note}\n{counts}" if self.note else counts


def take_survey(settings: Settings, profile: Profile, *, frozen: bool = False) -> Survey:
    """List the library and tell what is left to do; nothing is written.

    Parameters
    ----------
    settings : Settings
        The configuration.
    profile : Profile
        The profile of the store.
    frozen : bool
        Stay with the results that there are, if there are any: what is published is what was
        audited, and not something newer that nobody has seen.

    Raises
    ------
    UserError
        A root is missing or looks unmounted, the baseline or a list cannot be read.
    """
    store = open_track_store(settings.results, profile, settings.sidecars)
    state = ScanState.read(settings.results)
    listing = list_library(settings.roots, settings.extensions)
    check_not_shrunken(listing, state.found_per_root, settings.accept_shrunken_library)
    key = _key(settings, listing, profile)
    plan = _read_plan(settings.results)
    gone = _lost_vectors(settings.results, listing, profile, store, plan)
    retried = _to_retry(settings, listing, profile, state, plan, key)
    wanted = _digest([key, gone, retried])
    again = _digest([wanted, "again"])
    frozen = frozen and (settings.results / "meta" / "meta.json").is_file()
    unchanged = state.fingerprint in {wanted, again} or (
        state.key == key and not gone and not retried
    )
    beyond = _beyond_limit(settings, plan) if plan is not None else 0
    spent = plan is not None and (
        not plan.track_ids.isdisjoint(gone)  # vectors that it has brought are gone again
        or (plan.is_done and beyond > 0)  # after a run to its end a limit takes the next tracks
    )
    if spent and state.fingerprint == wanted:
        wanted = again  # an equal one would not make the library be scanned
    found = sum(listing.found_per_root().values())
    note = unlisted_note(settings, listing)
    if plan is not None and (frozen or (unchanged and not spent)):
        ahead = sum(
            not store.is_complete(track)
            for chunk in plan.unfinished
            for track in plan.tracks[chunk]
        )
        left = len(plan.unfinished)
        return Survey(state.key, state.fingerprint, found, ahead + beyond, left, True, note)
    report = find_library_gaps(settings, listing, profile)
    planned = min(len(report.pending), settings.limit or len(report.pending))
    chunks = -(-planned // settings.chunk_size)
    return Survey(key, wanted, found, len(report.pending), chunks, False, note)


def _beyond_limit(settings: Settings, plan: _Plan) -> int:
    """Return how many pending tracks a limit keeps out of the plan."""
    if settings.limit is None:
        return 0
    counts = json.loads((settings.results / "gaps" / "summary.json").read_bytes())["counts"]
    pending = counts["pending_embedding_total"] + counts.get("missing_sidecar_total", 0)
    return max(0, pending - len(plan.track_ids))


def discard_plan(results: Path) -> None:
    """Remove a plan that is to be made again, before Snakemake looks at it.

    With it Snakemake would take its finished chunks as finished for the whole run, and not do
    those of them that the new plan opens again: the same tracks retried, or another model.
    """
    (results / "gaps" / "plan.json").unlink(missing_ok=True)


@dataclass(frozen=True)
class _Plan:
    """The current plan.

    `unfinished` are the chunks without a final table; `is_done` says that none is, and that the
    run has come to its end.
    """

    tracks: Mapping[str, tuple[str, ...]]
    unfinished: tuple[str, ...]
    is_done: bool

    @cached_property
    def track_ids(self) -> frozenset[str]:
        return frozenset(track for tracks in self.tracks.values() for track in tracks)


def _read_plan(results: Path) -> _Plan | None:
    gaps = results / "gaps"
    try:
        if not (gaps / "summary.json").is_file():
            return None
        planned = (gaps / "plan.json").stat().st_mtime_ns
        if planned < (gaps / "manifest.tsv").stat().st_mtime_ns:
            return None  # killed between scanning and planning
        names = json.loads((gaps / "plan.json").read_text(encoding="utf-8"))["chunks"]
        if sorted(names) != sorted(chunk_names(gaps / "chunks")):
            return None
        tracks = {
            name: tuple(row.track_id for row in read_manifest(gaps / "chunks" / f"{name}.tsv"))
            for name in names
        }
    except (OSError, ValueError, KeyError, TypeError, UserError):
        return None
    unfinished = tuple(
        name for name in names if not tracks_table(results / "chunks", name).is_file()
    )
    return _Plan(tracks, unfinished, not unfinished and _reported_since(results, planned))


def _reported_since(results: Path, mtime_ns: int) -> bool:
    """Tell whether the report, the last file that a run writes, was written since."""
    try:
        return (results / "audit" / "report.html").stat().st_mtime_ns >= mtime_ns
    except OSError:
        return False


def _lost_vectors(
    results: Path, listing: Listing, profile: Profile, store: TrackStore, plan: _Plan | None
) -> list[str]:
    """Return listed tracks whose recorded vector or sidecar is gone from the store or damaged.

    A file is read only when it is younger than the record of it: anything that damages a file
    later, other than the disk itself, leaves that mark.
    """
    wanted = {sidecars.kind for sidecars in store.sidecars}
    tables = [
        (table.stat().st_mtime_ns, table)
        for name, made in finished_chunks(results / "chunks", profile.name).items()
        if wanted <= made  # sidecars asked for later are no loss
        for table in [tracks_table(results / "chunks", name)]
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


def _to_retry(
    settings: Settings,
    listing: Listing,
    profile: Profile,
    state: ScanState,
    plan: _Plan | None,
    key: str,
) -> list[tuple[str, int]]:
    """Return the quarantined tracks that this run is asked to try again, and their attempts."""
    if not settings.retry_failed:
        return []
    if plan is not None and plan.unfinished and state.key == key and state.released:
        return []  # a retry that was interrupted: its plan goes on
    quarantine = read_ledger(settings.results / "chunks", profile.name).quarantine
    return sorted(
        (file.track_id, quarantine[file.track_id].attempts)
        for file in listing.files
        if file.track_id in quarantine
        and quarantine[file.track_id].is_of(file.size_bytes, file.mtime_ns)
    )


def _key(settings: Settings, listing: Listing, profile: Profile) -> str:
    return _digest(
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


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()
