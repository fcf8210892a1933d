"""The audit: counters over the rows of meta.json, before and now, that have to balance."""

from __future__ import annotations

import functools
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mert_backfill.counters import LIBRARY_SUMS, ROW_SUMS, SCAN_SUMS, check_sums
from mert_backfill.errors import UserError
from mert_backfill.failures import Failure
from mert_backfill.library.listing import AudioFile, Listing, is_junk
from mert_backfill.library.meta_file import MetaFile, stale_meta_keys
from mert_backfill.library.paths import with_slashes
from mert_backfill.store.vectors import VectorState, vector_state
from mert_backfill.system.atomic import write_text
from mert_backfill.system.tables import read_tsv, write_json, write_tsv

# what the rebuild may change in a row
EMBEDDING_FIELDS = frozenset({"embedding", "embedding_source", "embedding_profile"})

StateOf = Callable[[Path], VectorState]


@dataclass(frozen=True)
class RowAudit:
    """The counters over the rows of one meta.json, and what some of them counted.

    Attributes
    ----------
    counters : dict of str to int
        The counters of ``audit.json``.
    invalid : tuple of Path
        Embedding files that exist but cannot be used.
    stale : tuple of str
        Keys for which the library holds no file.
    """

    counters: dict[str, int]
    invalid: tuple[Path, ...]
    stale: tuple[str, ...]


@dataclass(frozen=True)
class Audit:
    """The baseline and the rebuilt meta.json, counted in the same way.

    Attributes
    ----------
    baseline, current : RowAudit
        The rows before and now.
    library : dict
        The same over the tracks of the library, ``{"before": {...}, "now": {...}}``, each with
        ``tracks = embedded + failed + quarantined + open``: a track without a row counts too.
    failures : tuple of Failure
        The failures that are not resolved.
    """

    baseline: RowAudit
    current: RowAudit
    library: dict[str, dict[str, int]]
    failures: tuple[Failure, ...]

    def as_record(self) -> dict[str, dict[str, int]]:
        """Return the content of ``audit.json``."""
        before, now = self.baseline.counters, self.current.counters
        return {
            "baseline": before,
            "current": now,
            "delta": {name: now[name] - before[name] for name in now},
        }


def make_audit(
    baseline: MetaFile,
    rebuilt: MetaFile,
    listing: Listing,
    failures: Mapping[str, Failure],
    dimension: int,
    scan_counts: Mapping[str, int],
) -> Audit:
    """Count the rows before and now, and check every sum.

    Parameters
    ----------
    baseline : MetaFile
        The meta.json that the run started from.
    rebuilt : MetaFile
        The rebuilt meta.json, read back from its file.
    listing : Listing
        The library.
    failures : mapping
        Track id to the last failure of each track whose last outcome was one.
    dimension : int
        Length D that a valid vector has.
    scan_counts : mapping
        ``counts`` of ``gaps/summary.json``.

    Raises
    ------
    UserError
        A sum does not balance, or the rebuilt meta.json lost something.
    """
    check_sums("gaps/summary.json", scan_counts, SCAN_SUMS)

    # most rows name the same file before and now: each is read once
    @functools.cache
    def state_of(path: Path) -> VectorState:
        return vector_state(path, dimension) if os.path.isfile(path) else VectorState.MISSING

    unresolved = {
        file.track_id: failure
        for file in listing.files
        if (failure := failures.get(file.track_id)) and _is_unresolved(failure, file)
        if not _is_embedded(file, rebuilt, state_of)
    }
    before = count_rows(baseline, listing, state_of)
    now = count_rows(
        rebuilt,
        listing,
        state_of,
        failed=len(unresolved),
        quarantined=sum(failure.permanent for failure in unresolved.values()),
    )
    library = {
        "before": _count_tracks(listing.files, baseline, state_of, {}),
        "now": _count_tracks(listing.files, rebuilt, state_of, unresolved),
    }
    check_sums("baseline", before.counters, ROW_SUMS)
    check_sums("current", now.counters, ROW_SUMS)
    check_sums("the library before", library["before"], LIBRARY_SUMS)
    check_sums("the library now", library["now"], LIBRARY_SUMS)
    check_nothing_lost(baseline, rebuilt, before.stale)
    return Audit(before, now, library, tuple(unresolved.values()))


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
    gaps = bare = junk = 0
    invalid: list[Path] = []
    for key in meta.tracks:
        path = meta.embedding_path(key)
        state = VectorState.MISSING if path is None else state_of(path)
        gaps += state is not VectorState.VALID
        if meta.embedding_ref(key) is None:
            outcomes["missing_embedding_ref"] += 1
        elif state is VectorState.MISSING:
            outcomes["embedding_file_missing"] += 1
        elif state is VectorState.INVALID:
            outcomes["embedding_invalid"] += 1
            invalid += [path] if path is not None else []
        else:
            outcomes["embedding_ok"] += 1
        path_in_row = with_slashes(key)
        bare += "/" not in path_in_row
        junk += is_junk(path_in_row)
    stale = stale_meta_keys(listing, meta)
    counters = {
        "tracks_total": len(meta.tracks),
        "embedding_ok": outcomes["embedding_ok"],
        "embedding_gap_total": gaps,
        "missing_embedding_ref": outcomes["missing_embedding_ref"],
        "embedding_file_missing": outcomes["embedding_file_missing"],
        "embedding_invalid": outcomes["embedding_invalid"],
        "stale_track_path_total": len(stale),
        "bare_path_total": bare,
        "junk_path_total": junk,
        "duplicate_normalized_path_keys": len(meta.duplicate_keys()),
        "failed_total": failed,
        "quarantined_total": quarantined,
    }
    return RowAudit(counters, tuple(dict.fromkeys(invalid)), tuple(stale))


def check_nothing_lost(baseline: MetaFile, rebuilt: MetaFile, stale: Iterable[str]) -> None:
    """Check that the rebuilt meta.json still holds all that the baseline held.

    Raises
    ------
    UserError
        A row is gone that is not stale, a field changed that is not about the embedding, an
        existing embedding was replaced, or something beside the tracks changed.
    """
    may_go = set(stale)
    for key, row in baseline.tracks.items():
        after = rebuilt.tracks.get(key)
        if after is None:
            if key not in may_go:
                raise _lost(f"the row {key!r} is gone")
            continue
        if after == row:
            continue
        kept = row.keys() if baseline.has_embedding(key) else row.keys() - EMBEDDING_FIELDS
        for field in kept:
            if field not in after or not _same(row[field], after[field]):
                raise _lost(f"the field {field!r} of the row {key!r} changed")
    for name, value in baseline.document.items():
        if name != "tracks" and not _same(value, rebuilt.document.get(name)):
            raise _lost(f"the entry {name!r} changed")


def write_audit(path: Path | str, audit: Audit) -> None:
    """Write ``audit.json``."""
    write_json(path, audit.as_record())


def write_failures(path: Path | str, failures: Sequence[Failure]) -> None:
    """Write failure records as TSV; booleans read ``true`` and ``false`` as in JSON."""
    header = list(Failure.__dataclass_fields__)
    records = [failure.as_record() for failure in failures]
    rows = [[_as_in_json(record[name]) for name in header] for record in records]
    write_tsv(path, header, rows)


def read_failures(path: Path | str) -> list[Failure]:
    """Read the failure records of a file that `write_failures` wrote."""
    return [
        Failure.from_record(
            {
                **row,
                "permanent": row["permanent"] == "true",
                **{name: int(row[name]) for name in ("attempts", "size_bytes", "mtime_ns")},
            }
        )
        for row in read_tsv(path)
    ]


def write_retry_paths(path: Path | str, failures: Sequence[Failure]) -> None:
    """Write the paths of failed tracks as a list that ``paths_file`` takes."""
    paths = list(dict.fromkeys(failure.path for failure in failures))
    listed = [name for name in paths if "\n" not in name and "\r" not in name]
    lines = ["# to try these again: snakemake --cores 2 --config paths_file=THIS_FILE"]
    if len(listed) < len(paths):
        lines.append(
            f"# {len(paths) - len(listed)} more have a line break in their name, which no list "
            "can hold; retry_failed=true tries those too"
        )
    # quotes keep the spaces at the ends of a name
    lines += [f'"{name}"' if name != name.strip() else name for name in listed]
    write_text(path, "\n".join(lines) + "\n")


def _is_embedded(file: AudioFile, meta: MetaFile, state_of: StateOf) -> bool:
    named = meta.embeddings_of(meta.keys_of(file.path))
    return any(state_of(path) is VectorState.VALID for path in named)


def _is_unresolved(failure: Failure, file: AudioFile) -> bool:
    # a file that changed since it failed for good is tried again, so it counts as open
    return not failure.permanent or failure.is_quarantine_of(file.size_bytes, file.mtime_ns)


def _count_tracks(
    files: Sequence[AudioFile],
    meta: MetaFile,
    state_of: StateOf,
    unresolved: Mapping[str, Failure],
) -> dict[str, int]:
    outcomes: Counter[str] = Counter()
    for file in files:
        failure = unresolved.get(file.track_id)
        if _is_embedded(file, meta, state_of):
            outcomes["embedded"] += 1
        elif failure is not None:
            outcomes["quarantined" if failure.permanent else "failed"] += 1
        else:
            outcomes["open"] += 1
    parts = LIBRARY_SUMS[0][1]
    return {"tracks": len(files), **{part: outcomes[part] for part in parts}}


def _same(one: object, other: object) -> bool:
    # NaN, which Python's json reads and writes, is not equal to itself
    return one == other or json.dumps(one) == json.dumps(other)


def _lost(what: str) -> UserError:
    return UserError(
        f"audit: the rebuilt meta.json is not the baseline with more embeddings: {what}; the "
        "audit was not written; if meta.json has changed meanwhile run again, else report this"
    )


def _as_in_json(value: object) -> object:
    return str(value).lower() if isinstance(value, bool) else value
