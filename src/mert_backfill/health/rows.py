"""Counting the rows of a meta.json, and the tracks of the library by them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mert_backfill.failures import Failure
from mert_backfill.health.counts import RowCounters, TrackCounters
from mert_backfill.library.junk import is_junk
from mert_backfill.library.listing import AudioFile, Listing
from mert_backfill.library.meta_file import MetaFile, stale_meta_keys
from mert_backfill.library.paths import with_slashes
from mert_backfill.store.vectors import VectorState

StateOf = Callable[[Path], VectorState]


@dataclass(frozen=True)
class RowAudit:
    """The counters over the rows of one meta.json, and what some of them counted.

    Attributes
    ----------
    counters : RowCounters
        The counters of ``audit.json``.
    invalid : tuple of Path
        Embedding files that exist but cannot be used.
    stale : tuple of str
        Keys for which the library holds no file.
    """

    counters: RowCounters
    invalid: tuple[Path, ...]
    stale: tuple[str, ...]


def count_rows(
    meta: MetaFile,
    listing: Listing,
    state_of: StateOf,
    *,
    failed: int = 0,
    quarantined: int = 0,
) -> RowAudit:
    """Count the rows of a meta.json.

    Parameters
    ----------
    meta : MetaFile
        The meta.json.
    listing : Listing
        The library that tells which rows are stale.
    state_of : callable
        Tells what an embedding file holds.
    failed, quarantined : int
        Unresolved failures, and those among them that are permanent.
    """
    outcomes: Counter[str] = Counter()
    gaps = bare = 0
    junk: set[str] = set()
    invalid: list[Path] = []
    for key in meta.tracks:
        path = meta.embedding_path(key)
        outcome = _outcome(path, state_of)
        outcomes[outcome] += 1
        gaps += outcome != "embedding_ok"
        if outcome == "embedding_invalid" and path is not None:
            invalid.append(path)
        path_in_row = with_slashes(key)
        bare += "/" not in path_in_row
        if is_junk(path_in_row):
            junk.add(key)
    if junk:  # a whole library may lie in a folder of such a name
        junk.difference_update(key for file in listing.files for key in meta.keys_of(file.path))
    stale = stale_meta_keys(listing, meta)
    counters = RowCounters(
        tracks_total=len(meta.tracks),
        embedding_ok=outcomes["embedding_ok"],
        embedding_gap_total=gaps,
        missing_embedding_ref=outcomes["missing_embedding_ref"],
        embedding_file_missing=outcomes["embedding_file_missing"],
        embedding_invalid=outcomes["embedding_invalid"],
        stale_track_path_total=len(stale),
        bare_path_total=bare,
        junk_path_total=len(junk),
        duplicate_normalized_path_keys=len(meta.duplicate_keys()),
        failed_total=failed,
        quarantined_total=quarantined,
    )
    return RowAudit(counters, tuple(dict.fromkeys(invalid)), tuple(stale))


def track_outcomes(
    files: Sequence[AudioFile],
    meta: MetaFile,
    state_of: StateOf,
    unresolved: Mapping[str, Failure],
) -> list[str]:
    """Return what each track of the library is by the rows of a meta.json.

    Parameters
    ----------
    files : sequence of AudioFile
        The library.
    meta : MetaFile
        The meta.json whose rows name embeddings.
    state_of : callable
        Tells what an embedding file holds.
    unresolved : mapping
        Track id to its failure, of tracks without an embedding.

    Returns
    -------
    list of str
        Counters of `TrackCounters`: embedded, failed, quarantined or open.
    """
    outcomes = []
    for file in files:
        failure = unresolved.get(file.track_id)
        if is_embedded(file, meta, state_of):
            outcomes.append("embedded")
        elif failure is not None:
            outcomes.append("quarantined" if failure.permanent else "failed")
        else:
            outcomes.append("open")
    return outcomes


def count_tracks(outcomes: Sequence[str]) -> TrackCounters:
    """Count what `track_outcomes` returned."""
    return TrackCounters(tracks=len(outcomes), **Counter(outcomes))


def is_embedded(file: AudioFile, meta: MetaFile, state_of: StateOf) -> bool:
    """Tell whether any row of a file names an embedding that can be used."""
    named = meta.embeddings_of(meta.keys_of(file.path))
    return any(state_of(path) is VectorState.VALID for path in named)


def _outcome(path: Path | None, state_of: StateOf) -> str:
    """Return the counter of a row that names an embedding, or none."""
    if path is None:
        return "missing_embedding_ref"
    return {
        VectorState.VALID: "embedding_ok",
        VectorState.MISSING: "embedding_file_missing",
        VectorState.INVALID: "embedding_invalid",
    }[state_of(path)]
