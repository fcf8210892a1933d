"""The gaps: which tracks have no embedding, and the counters that say how this was found."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mert_backfill.counters import SCAN_SUMS, check_sums
from mert_backfill.library.listing import AudioFile, Listing
from mert_backfill.library.meta_file import MetaFile, stale_meta_keys
from mert_backfill.library.path_lists import PathList
from mert_backfill.library.quarantine_list import QuarantineList
from mert_backfill.records.ledger import Ledger
from mert_backfill.records.manifest import (
    EMBEDDING_FILE_MISSING,
    EMBEDDING_INVALID,
    FILE_CHANGED,
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
        Ids of pending tracks that were quarantined, here or by `quarantine_file`, until
        `retry_failed` or the paths file named them.
    theirs : mapping
        Track id to the kinds of sidecar that its row has already, for tracks that lack others.
    """

    summary: Summary
    pending: tuple[PendingTrack, ...]
    scanned: tuple[AudioFile, ...]
    quarantined: tuple[AudioFile, ...]
    excluded: tuple[AudioFile, ...]
    released: tuple[str, ...]
    theirs: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def counts(self) -> dict[str, int]:
        """The counters of the summary."""
        return dict(self.summary.counts)


@dataclass(frozen=True)
class Choice:
    """Which files the user wants.

    Attributes
    ----------
    exclude, only : PathList or None
        What to leave out, and the only files to take.
    retry_failed : bool
        Try the quarantined tracks again.
    quarantine : QuarantineList or None
        Files that failed elsewhere.
    """

    exclude: PathList | None = None
    only: PathList | None = None
    retry_failed: bool = False
    quarantine: QuarantineList | None = None

    def takes(self, path: str) -> bool:
        """Tell whether a file [absolute path] is wanted."""
        listed = self.only is None or self.only.contains(path)
        return listed and not (self.exclude is not None and self.exclude.contains(path))

    def lists(self, file: AudioFile | PendingTrack) -> bool:
        """Tell whether a file failed elsewhere, and is still the same."""
        return (
            self.quarantine is not None
            and self.quarantine.of_file(file.path, file.size_bytes) is not None
        )

    @property
    def releases(self) -> bool:
        """Whether quarantined tracks that are wanted are tried again: asked for, or named."""
        return self.retry_failed or self.only is not None


@dataclass(frozen=True)
class VectorChecks:
    """What is asked of vectors.

    Attributes
    ----------
    stored : callable
        Tells for a track id what the store holds under the current profile.
    named : callable
        Tells for the path of a vector that a row names whether it can be used.
    changed : callable
        Tells for a file whose vector the store holds whether it is not as it was when that was
        made.
    """

    stored: Callable[[str], VectorState]
    named: Callable[[Path], VectorState]
    changed: Callable[[AudioFile], bool]


@dataclass(frozen=True)
class _Piles:
    """Where each file of a listing goes; those that are pending are scanned too."""

    excluded: list[AudioFile] = field(default_factory=list)
    quarantined: list[AudioFile] = field(default_factory=list)
    listed: list[AudioFile] = field(default_factory=list)
    scanned: list[AudioFile] = field(default_factory=list)
    pending: list[PendingTrack] = field(default_factory=list)


def find_gaps(
    listing: Listing,
    baseline: MetaFile,
    *,
    checks: VectorChecks,
    ledger: Ledger,
    choice: Choice,
) -> GapReport:
    """Divide a listing into junk, excluded, quarantined, embedded and pending files.

    A track that has an embedding counts as embedded even if it failed before. Of the others
    those are quarantined that the ledger or `quarantine_file` names, unless the user wants them
    tried again.

    Parameters
    ----------
    listing : Listing
        The library.
    baseline : MetaFile
        The rows that exist.
    checks : VectorChecks
        Tells what vectors are good for.
    ledger : Ledger
        Tells who is quarantined.
    choice : Choice
        Which files are wanted.

    Raises
    ------
    UserError
        The counters do not balance, which would be a fault of this program.
    """
    piles = _Piles()
    for file in listing.files:
        if not choice.takes(file.path):
            piles.excluded.append(file)
            continue
        keys = baseline.keys_of(file.path)
        reason = _reason(file, keys, baseline, checks)
        listed = choice.lists(file)
        failed = ledger.quarantined(file) is not None
        if reason is not None and not choice.releases and (listed or failed):
            piles.quarantined.append(file)
            if listed:
                piles.listed.append(file)
            continue
        piles.scanned.append(file)
        if reason is not None:
            piles.pending.append(pending_track(file, reason, keys[0] if keys else ""))
    released = (
        row.track_id
        for row in piles.pending
        if ledger.quarantined(row) is not None or choice.lists(row)
    )
    return GapReport(
        summary=_summarise(listing, baseline, piles, choice),
        pending=tuple(piles.pending),
        scanned=tuple(piles.scanned),
        quarantined=tuple(piles.quarantined),
        excluded=tuple(piles.excluded),
        released=tuple(released),
    )


def pending_track(file: AudioFile, reason: str, meta_key: str = "") -> PendingTrack:
    """Return the row of the manifest for a file that is pending for a reason."""
    return PendingTrack(file.track_id, file.path, reason, meta_key, file.size_bytes, file.mtime_ns)


def _reason(
    file: AudioFile, keys: Sequence[str], baseline: MetaFile, checks: VectorChecks
) -> str | None:
    """Return why a track is pending, None when it is embedded."""
    named = baseline.embeddings_of(keys)
    of_others = (path for path in named if path.stem != file.track_id)
    if any(checks.named(path) is VectorState.VALID for path in of_others):
        return None
    match checks.stored(file.track_id):
        case VectorState.VALID:
            return FILE_CHANGED if checks.changed(file) else None
        case VectorState.MISSING:
            # a published meta.json names vectors of ours: another profile's, or in another results
            # folder; where ours is damaged here, it may well be the one that is named
            if any(checks.named(path) is VectorState.VALID for path in named):
                return None
            invalid = any(checks.named(path) is VectorState.INVALID for path in named)
        case VectorState.INVALID:
            invalid = True
    if not keys:
        return MISSING_META
    if invalid:
        return EMBEDDING_INVALID
    return EMBEDDING_FILE_MISSING if named else MISSING_EMBEDDING_REF


def _summarise(listing: Listing, baseline: MetaFile, piles: _Piles, choice: Choice) -> Summary:
    """Return counters and samples, after checking the counters' sums."""
    no_row = [row.path for row in piles.pending if not row.meta_key]
    no_embedding = [row.path for row in piles.pending if row.meta_key]
    by_reason: defaultdict[str, list[str]] = defaultdict(list)
    for row in piles.pending:
        by_reason[row.reason].append(row.path)
    stale = stale_meta_keys(listing, baseline)
    duplicate = baseline.duplicate_keys()
    counts = {
        "audio_files_found": len(listing.files) + len(listing.junk),
        "junk_files_total": len(listing.junk),
        "excluded_audio_files_total": len(piles.excluded),
        "quarantined_total": len(piles.quarantined),
        "audio_files_scanned": len(piles.scanned),
        "already_embedded_total": len(piles.scanned) - len(piles.pending),
        "pending_embedding_total": len(piles.pending),
        "missing_meta_total": len(no_row),
        "missing_embedding_ref_total": len(no_embedding),
        "changed_since_embedded_total": len(by_reason[FILE_CHANGED]),
        "stale_meta_paths_total": len(stale),
        "duplicate_meta_keys_total": len(duplicate),
        "linked_folders_total": len(listing.linked_folders),
    }
    if choice.quarantine is not None:  # a part of those that are quarantined
        counts["quarantine_file_total"] = len(piles.listed)
    check_sums("the scan", counts, SCAN_SUMS)
    lists: dict[str, Sequence[str]] = {
        "junk_files": [file.path for file in listing.junk],
        "excluded_audio_files": [file.path for file in piles.excluded],
        "quarantined": [file.path for file in piles.quarantined],
        "quarantine_file": [file.path for file in piles.listed],
        "pending_embedding": [row.path for row in piles.pending],
        "missing_meta": no_row,
        "missing_embedding_ref": no_embedding,
        "embedding_invalid": by_reason[EMBEDDING_INVALID],
        "changed_since_embedded": by_reason[FILE_CHANGED],
        "stale_meta_paths": stale,
        "duplicate_meta_keys": duplicate,
        "not_regular": listing.not_regular,
        "unreadable_folders": listing.unreadable,
        "linked_folders": listing.linked_folders,
    }
    samples = {name: list(paths[:SAMPLE_SIZE]) for name, paths in lists.items()}
    return Summary(counts, samples)
