"""The audit: counters over the rows of meta.json, before and now, that have to balance."""

from __future__ import annotations

import functools
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mert_backfill.counters import LIBRARY_SUMS, ROW_SUMS, SCAN_SUMS, check_sums
from mert_backfill.failures import Failure
from mert_backfill.health.counts import LibraryCounters, RowCounters
from mert_backfill.health.coverage import FolderCoverage, count_folders
from mert_backfill.health.findings import same_sound
from mert_backfill.health.losses import check_nothing_lost
from mert_backfill.health.origins import Origin, count_origins
from mert_backfill.health.rows import (
    RowAudit,
    count_rows,
    count_tracks,
    is_embedded,
    track_outcomes,
)
from mert_backfill.library.listing import AudioFile, Listing
from mert_backfill.library.meta_file import MetaFile, count_unseen
from mert_backfill.library.quarantine_list import QuarantinedFile, QuarantineList
from mert_backfill.records.calibration import Calibration
from mert_backfill.records.ledger import Ledger
from mert_backfill.records.summary import Summary
from mert_backfill.records.tidied import TidyChange
from mert_backfill.store.named import Reembed
from mert_backfill.store.profile import Profile
from mert_backfill.store.vectors import VectorState, vector_state
from mert_backfill.system.tables import read_json, write_json


@dataclass(frozen=True)
class AuditInputs:
    """All that the audit is made from, read once.

    Attributes
    ----------
    baseline : MetaFile
        The meta.json that the run started from.
    rebuilt : MetaFile
        The rebuilt meta.json, read back from its file.
    listing : Listing
        The library.
    ledger : Ledger
        The last outcome of each track.
    profile : Profile
        The profile of the store; its length D is what a valid vector has.
    reembed : {"none", "invalid", "all"}
        Which vectors that rows name may be replaced.
    summary : Summary
        The content of ``gaps/summary.json``.
    quarantine : QuarantineList or None
        ``meta.quarantine_file``.
    sounds : mapping
        Track id to the hash of its sound, of the tracks that were decoded here.
    copies_vectors : bool
        Publishing copies vectors to where the program finds them.
    tidied : sequence of TidyChange
        What was tidied in the rebuilt meta.json.
    archived : collection of (str, str)
        Keys and rows that left it.
    calibration : Calibration or None
        Which recipe made the vectors of the baseline, as far as that is known.
    """

    baseline: MetaFile
    rebuilt: MetaFile
    listing: Listing
    ledger: Ledger
    profile: Profile
    reembed: Reembed
    summary: Summary
    quarantine: QuarantineList | None = None
    sounds: Mapping[str, str] = field(default_factory=dict)
    copies_vectors: bool = False
    tidied: Sequence[TidyChange] = ()
    archived: Collection[tuple[str, str]] = ()
    calibration: Calibration | None = None


@dataclass(frozen=True)
class AuditRecord:
    """The content of ``audit.json``."""

    baseline: RowCounters
    current: RowCounters

    @property
    def delta(self) -> RowCounters:
        """What changed."""
        return self.current.minus(self.baseline)

    @classmethod
    def read(cls, path: Path | str) -> AuditRecord:
        """Read ``audit.json``."""
        record = read_json(path)
        return cls(
            RowCounters.from_record(record["baseline"]), RowCounters.from_record(record["current"])
        )

    def as_record(self) -> dict[str, dict[str, int]]:
        """Return the record as it is written."""
        return {
            "baseline": self.baseline.as_record(),
            "current": self.current.as_record(),
            "delta": self.delta.as_record(),
        }


@dataclass(frozen=True)
class Audit:
    """The baseline and the rebuilt meta.json, counted in the same way.

    Attributes
    ----------
    baseline, current : RowAudit
        The rows before and now.
    library : LibraryCounters
        The tracks of the library before and now.
    failures : tuple of Failure
        The failures that are not resolved, those that only `quarantine_file` tells of last.
    remarks : mapping
        Path to what is odd about the sound of a track that has its embedding all the same.
    summary : Summary
        What the last scan counted.
    folders : tuple of FolderCoverage
        What `library` counts, by folder and format.
    same_sound : tuple of tuple of str
        The paths of files that hold one sound.
    unseen : int
        Vectors where the program that reads meta.json cannot open them.
    calibration : Calibration or None
        Which recipe made the vectors of the baseline.
    origins : tuple of Origin
        Which recipe made the vectors that the rows name now.
    """

    baseline: RowAudit
    current: RowAudit
    library: LibraryCounters
    failures: tuple[Failure, ...]
    remarks: Mapping[str, str]
    summary: Summary
    folders: tuple[FolderCoverage, ...] = ()
    quarantine: tuple[QuarantinedFile, ...] = ()
    same_sound: tuple[tuple[str, ...], ...] = ()
    unseen: int = 0
    calibration: Calibration | None = None
    origins: tuple[Origin, ...] = ()

    @property
    def record(self) -> AuditRecord:
        """The content of ``audit.json``."""
        return AuditRecord(self.baseline.counters, self.current.counters)


def make_audit(inputs: AuditInputs) -> Audit:
    """Count the rows before and now, and check every sum.

    Raises
    ------
    UserError
        A sum does not balance, or the rebuilt meta.json lost something.
    """
    baseline, rebuilt, listing = inputs.baseline, inputs.rebuilt, inputs.listing
    check_sums("gaps/summary.json", inputs.summary.counts, SCAN_SUMS)

    # most rows name the same file before and now: each is read once
    @functools.cache
    def state_of(path: Path) -> VectorState:
        known = os.path.isfile(path)
        return vector_state(path, inputs.profile.dimension) if known else VectorState.MISSING

    def may_replace(key: str) -> bool:
        path = baseline.embedding_path(key)
        if path is None or not path.is_file() or inputs.reembed == "all":
            return True
        if baseline.tracks[key].get("embedding_profile") == inputs.profile.name:
            return True  # ours: a copy that was published before is made anew where ours changed
        return inputs.reembed == "invalid" and state_of(path) is not VectorState.VALID

    unresolved = {
        file.track_id: failure
        for file in listing.files
        if (failure := inputs.ledger.failures.get(file.track_id)) and _is_unresolved(failure, file)
        if not is_embedded(file, rebuilt, state_of)
    }
    quarantine = tuple(
        _as_listed(failure, inputs.ledger) for failure in unresolved.values() if failure.permanent
    )
    unresolved |= {
        file.track_id: failure
        for file in listing.files
        if file.track_id not in unresolved and (failure := _listed(inputs.quarantine, file))
        if not is_embedded(file, rebuilt, state_of)
    }
    before = count_rows(baseline, listing, state_of)
    now = count_rows(
        rebuilt,
        listing,
        state_of,
        failed=len(unresolved),
        quarantined=sum(failure.permanent for failure in unresolved.values()),
    )
    tracks_before = track_outcomes(listing.files, baseline, state_of, {})
    tracks_now = track_outcomes(listing.files, rebuilt, state_of, unresolved)
    library = LibraryCounters(count_tracks(tracks_before), count_tracks(tracks_now))
    check_sums("baseline", before.counters.as_record(), ROW_SUMS)
    check_sums("current", now.counters.as_record(), ROW_SUMS)
    check_sums("the library before", library.before.as_record(), LIBRARY_SUMS)
    check_sums("the library now", library.now.as_record(), LIBRARY_SUMS)
    check_nothing_lost(baseline, rebuilt, before.stale, may_replace, inputs.tidied, inputs.archived)
    remarks = {
        file.path: remark
        for file in listing.files
        if (remark := inputs.ledger.remarks.get(file.track_id))
        and is_embedded(file, rebuilt, state_of)
    }
    return Audit(
        baseline=before,
        current=now,
        library=library,
        failures=tuple(unresolved.values()),
        remarks=remarks,
        summary=inputs.summary,
        folders=count_folders(listing.files, listing.roots, tracks_before, tracks_now),
        quarantine=quarantine,
        same_sound=same_sound(listing.files, inputs.sounds),
        unseen=0 if inputs.copies_vectors else count_unseen(rebuilt.tracks),
        calibration=inputs.calibration,
        origins=count_origins(rebuilt, state_of, inputs.calibration),
    )


def write_audit(path: Path | str, audit: Audit) -> None:
    """Write ``audit.json``."""
    write_json(path, audit.record.as_record())


def _is_unresolved(failure: Failure, file: AudioFile) -> bool:
    # a file that changed since it failed for good is tried again, so it counts as open
    return not failure.permanent or failure.is_quarantine_of(file.size_bytes, file.mtime_ns)


def _as_listed(failure: Failure, ledger: Ledger) -> QuarantinedFile:
    return QuarantinedFile(
        path=failure.path,
        reason=failure.reason,
        phase=failure.stage,
        first_seen=ledger.first_failed.get(failure.track_id, failure.timestamp),
        last_seen=failure.timestamp,
        attempts=failure.attempts,
        size_bytes=failure.size_bytes,
    )


def _listed(quarantine: QuarantineList | None, file: AudioFile) -> Failure | None:
    """Return the failure that `quarantine_file` tells of a file that is still the same."""
    listed = quarantine.of_file(file.path, file.size_bytes) if quarantine is not None else None
    if listed is None:
        return None
    return Failure(
        path=file.path,
        track_id=file.track_id,
        chunk="",
        stage=listed.phase,
        reason=listed.reason,
        error="it failed elsewhere: meta.quarantine_file lists it",
        permanent=True,
        attempts=listed.attempts,
        size_bytes=file.size_bytes,
        mtime_ns=file.mtime_ns,
        timestamp=listed.last_seen,
    )
